"""``python -m study.benchmark.driver``: measures the driver's time per epoch report, with trials that take no time.

Everything but the training is real: driver, searcher, scheduler, callbacks, ledger, records, Optuna, Ray Tune.
``--without-tune`` calls searcher, scheduler and callbacks as Tune would, to measure long studies without hundreds of
thousands of messages between processes. ``--latency`` delays each write and deletion in the storage, as an object store
does.

``busy/report`` is the driver's time in milliseconds per epoch report, waiting for trials left out, ``CPU/report`` what
of it its thread spent on a CPU, ``all CPU`` the same with Ray's and the writers' threads, ``ask/trial`` how long Optuna
took to propose a trial. Each line is a stretch of the study, to show what grows with the number of trials.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console

from study.driver import driver
from study.driver.driver import RunOptions, run_studies
from study.driver.progress import Progress
from study.records import records
from study.records.journal import Journal
from study.records.records import Setting
from study.search.ledger import Ledger
from study.search.optuna_study import OptunaStudy
from study.search.searcher import StudyCallback, StudyScheduler, StudySearcher
from study.search.setting_search import SettingSearch
from study.spec.spec import StudySpec
from trainables.config import TrialConfig
from trainables.data.corpora import load_corpus
from trainables.models import num_params
from trainables.recipes import SIZES, VARIANTS
from trainables.storage import checkpoint
from trainables.storage.storage import delete, write_bytes
from trainables.trial.trial_run import TrialJob, single_stream_rows


class InstantTrainable(tune.Trainable):
    """Reports made-up epochs at once, without checkpoints, as soon as all processes have started.

    Without this wait a trial would take over the process of one that has just ended while its own still starts, and
    mostly process starts would be measured.
    """

    def setup(self, config: dict[str, Any], *, folder: str, num_processes: int) -> None:
        """Takes a ``TrialJob`` as a dict, and a folder in which each process leaves a file."""
        Path(folder, str(os.getpid())).touch()
        self._folder, self._num_processes = Path(folder), num_processes
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts another trial in the same process."""
        self._rows = instant_rows(TrialJob(**new_config))
        return True

    def step(self) -> dict[str, Any]:
        """One epoch that took no time."""
        while self._num_processes > len(list(self._folder.iterdir())):
            time.sleep(0.1)
        self._num_processes = 0
        return next(self._rows)


def instant_rows(job: TrialJob) -> Iterator[dict[str, Any]]:
    """The reports of a trial: a learning curve that depends on its parameters alone."""
    config = TrialConfig.from_dict(job.trial)
    distance = abs(math.log(config.lr)) + 4 * abs(config.drop_prob - 0.4) + abs(math.log(config.init_range / 0.05)) / 4
    best, num_parameters = math.inf, num_params(config)
    for epoch in range(1, config.max_epochs + 1):
        valid_ppl = 80.0 * (1 + 0.1 * distance) * (1 + 3 / epoch) + 0.01 * epoch
        best = min(best, valid_ppl)
        row: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": math.log(valid_ppl) - 0.2,
            "train_total_loss": math.log(valid_ppl),
            "valid_ppl": valid_ppl,
            "best_valid_ppl": best,
            "lr": config.lr,
            "grad_norm": 1.0,
            "tokens_per_s": 1e4,
            "epoch_s": 60.0,
            "peak_memory_bytes": 10**9,
            "num_params": num_parameters,
            "done": epoch == config.max_epochs,
        }
        if row["done"] and job.evaluate_test:
            row["evaluations"] = single_stream_rows({"valid": valid_ppl, "test": valid_ppl})
        yield row


class Meter:
    """Prints the driver's costs since the line before, at the given numbers of trials and at the end.

    Args:
        searcher: of the study.
        waited: seconds spent waiting for trials so far, in a list of one.
        asked: seconds spent in Optuna's proposals so far, in a list of one.
        at: numbers of trials.
    """

    def __init__(self, searcher: StudySearcher, waited: list[float], asked: list[float], at: Sequence[int]) -> None:
        self._searcher, self._waited, self._asked, self._at = searcher, waited, asked, list(at)
        names = (
            "trials", "reports", "RSS MB", "wall s", "waited s", "busy/report", "CPU/report", "all CPU", "ask/trial",
        )  # fmt: skip
        print("".join(f"{name:>12}" for name in names))
        self._last = self._now()

    def __call__(self) -> None:
        """Prints a line if the next number of trials is reached."""
        if self._at and len(self._searcher.by_tune_id) >= self._at[0]:
            self.line()
            while self._at and len(self._searcher.by_tune_id) >= self._at[0]:
                self._at.pop(0)

    def line(self) -> None:
        """Prints a line of costs."""
        now = self._now()
        spent = {name: value - self._last[name] for name, value in now.items()}
        self._last = now
        reports, trials = max(1.0, spent["reports"]), max(1.0, spent["trials"])
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        values = (
            f"{now['trials']:.0f}", f"{now['reports']:.0f}", f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.0f}",
            f"{spent['wall']:.1f}", f"{spent['waited']:.1f}",
            f"{1e3 * (spent['wall'] - spent['waited']) / reports:.2f}",
            f"{1e3 * spent['thread'] / reports:.2f}", f"{1e3 * spent['process'] / reports:.2f}",
            f"{1e3 * spent['asked'] / trials:.2f}",
        )  # fmt: skip
        # Not sys.stdout, which belongs to the progress view while that is shown.
        print("".join(f"{value:>12}" for value in values), flush=True, file=sys.__stdout__)

    def _now(self) -> dict[str, float]:
        return {
            "trials": len(self._searcher.by_tune_id),
            "reports": sum(t.num_epochs for setting in self._searcher.settings for t in setting.ledger.trials.values()),
            "wall": time.perf_counter(), "thread": time.thread_time(), "process": time.process_time(),
            "waited": self._waited[0], "asked": self._asked[0],
        }  # fmt: skip


@contextlib.contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """Adds up the wall time of a function's calls, in a list of one."""
    spent, original = [0.0], getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            spent[0] += time.perf_counter() - started

    with mock.patch.object(owner, name, call):
        yield spent


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``python -m study.benchmark.driver``."""
    parser = argparse.ArgumentParser(prog="python -m study.benchmark.driver", description=__doc__, allow_abbrev=False)
    parser.add_argument("--size", default="tiny", choices=list(SIZES), help="default: %(default)s")
    parser.add_argument("--variants", type=int, default=1, choices=range(1, len(VARIANTS) + 1), help="studies at once")
    parser.add_argument("--num-samples", type=int, default=500, metavar="N", help="of each study")
    parser.add_argument("--max-epochs", type=int, default=6, metavar="E", help="of each trial (default: %(default)s)")
    parser.add_argument("--max-concurrent", type=int, default=4, metavar="N", help="trials at a time")
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS", help="of each write to the storage")
    parser.add_argument("--without-tune", action="store_true", help="call searcher and callbacks as Tune would")
    parser.add_argument("--storage", metavar="DIR", help="a folder or an s3:// URI; default: a folder that goes away")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns the exit status."""
    arguments = build_parser().parse_args(argv)
    specs = [
        StudySpec(
            setting=Setting("toy", arguments.size, variant),
            num_samples=arguments.num_samples,
            max_epochs=arguments.max_epochs,
        )
        for variant in list(VARIANTS)[-arguments.variants :]
    ]
    with contextlib.ExitStack() as stack:
        storage = arguments.storage or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(slow_storage(arguments.latency / 1e3))
        measure = measure_alone if arguments.without_tune else measure_with_tune
        with timed(ray, "wait") as waited, timed(OptunaStudy, "propose") as asked:
            measure(specs, storage, arguments.max_concurrent, waited, asked)
        measure_resume(specs, storage)
    return 0


def measure_with_tune(
    specs: Sequence[StudySpec], storage: str, max_concurrent: int, waited: list[float], asked: list[float]
) -> None:
    """Runs the studies as ``study.run`` does."""
    meters: list[Meter] = []

    class MeasuredProgress(Progress):
        """A progress view that also prints the measurements."""

        def __init__(self, searcher: StudySearcher, console: Console) -> None:
            super().__init__(searcher, console)
            meters.append(Meter(searcher, waited, asked, marks(specs)))

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            super().on_step_end(iteration, trials, **info)
            meters[0]()

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(
                driver,
                "make_trainable",
                return_value=tune.with_resources(
                    tune.with_parameters(InstantTrainable, folder=folder, num_processes=max_concurrent), {"cpu": 1e-2}
                ),
            ),
            mock.patch.object(driver, "Progress", MeasuredProgress),
        ):
            run_studies(
                specs,
                load_corpus("toy"),
                RunOptions(storage=storage, max_concurrent=max_concurrent),
                Console(file=open(os.devnull, "w"), force_terminal=True),  # noqa: SIM115
            )
        meters[0].line()
    finally:
        ray.shutdown()


def measure_alone(
    specs: Sequence[StudySpec], storage: str, max_concurrent: int, waited: list[float], asked: list[float]
) -> None:
    """Runs the studies without Tune: an epoch of each live trial in turn."""
    with contextlib.ExitStack() as stack:
        journals = [stack.enter_context(contextlib.closing(Journal(spec.name, storage))) for spec in specs]
        settings = [
            SettingSearch(Ledger(spec, storage), journal.path) for spec, journal in zip(specs, journals, strict=True)
        ]
        searcher = StudySearcher(settings, max_concurrent=max_concurrent)
        _run_alone(searcher, Meter(searcher, waited, asked, marks(specs)))


def _run_alone(searcher: StudySearcher, meter: Meter) -> None:
    scheduler, callback = StudyScheduler(searcher), StudyCallback(searcher)
    live: list[tuple[SimpleNamespace, Iterator[dict[str, Any]]]] = []
    num_asked = 0
    console = Console(file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    with Progress(searcher, console) as progress:
        while True:
            while isinstance(job := searcher.suggest(f"{num_asked:08d}"), dict):
                trial = SimpleNamespace(trial_id=f"{num_asked:08d}", last_result=None)
                live.append((trial, instant_rows(TrialJob(**job))))
                num_asked += 1
            if job == Searcher.FINISHED:
                break
            trial, rows = live.pop(0)
            row = trial.last_result = next(rows)
            stop = not row["done"] and scheduler.on_trial_result(None, trial, row) == TrialScheduler.STOP  # type: ignore[arg-type]
            callback.on_trial_result(0, [], trial, row)  # type: ignore[arg-type]
            if row["done"] or stop:
                callback.on_trial_complete(0, [], trial)  # type: ignore[arg-type]
            else:
                live.append((trial, rows))
            progress.on_step_end(0, [])
            meter()
    for setting in searcher.settings:
        setting.ledger.records.flush()
    meter.line()


def measure_resume(specs: Sequence[StudySpec], storage: str) -> None:
    """Opens the studies again, as the next driver would."""
    for what in ("with its journal", "without it"):
        started, cpu = time.perf_counter(), time.process_time()
        for spec in specs:
            with contextlib.closing(Journal(spec.name, storage)) as journal:
                if what == "without it":
                    journal.path.unlink(missing_ok=True)
                SettingSearch(Ledger(spec, storage), journal.path)
        print(f"opened again {what}: {time.perf_counter() - started:.1f} s, CPU {time.process_time() - cpu:.1f} s")


def marks(specs: Sequence[StudySpec]) -> list[int]:
    """The numbers of trials at which to print."""
    total = sum(sum(spec.num_trials.values()) for spec in specs)
    return [n for n in (100, 500, 1000, 1500, *range(2000, total, 1000)) if n < total]


@contextlib.contextmanager
def slow_storage(seconds: float) -> Iterator[None]:
    """Delays each write and each deletion."""

    def slowly(work: Any) -> Any:
        def slow(*arguments: Any) -> None:
            time.sleep(seconds)
            work(*arguments)

        return slow

    if not seconds:
        yield
        return
    with (
        mock.patch.object(records, "write_bytes", slowly(write_bytes)),
        mock.patch.object(records, "delete", slowly(delete)),
        mock.patch.object(checkpoint, "delete", slowly(delete)),
    ):
        yield


if __name__ == "__main__":
    sys.exit(main())
