"""Runs studies on Ray Tune: opens them from their records, trains what is missing, and closes them again.

Nothing here is needed to resume: a study that was killed at any moment is opened from its records and goes on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import ray
from ray import tune
from rich.console import Console

from study.actors import make_trainable
from study.cell_search import CellSearch
from study.ledger import Ledger
from study.progress import Progress
from study.provenance import provenance
from study.records import Records, is_remote
from study.run_log import RunLog
from study.searcher import StudyCallback, StudyScheduler, StudySearcher
from study.spec import StudySpec
from trainables.corpora import Corpus, cache_directory

_MAX_FAILURES = 3  # times that Ray starts a lost trial again within a run; the next run starts it again anyway
_DEFAULT_CLUSTER_CONCURRENCY = 16  # beyond, TPE proposes almost blindly

# Tune's loggers write five files a trial and its snapshots grow with every trial: the records replace both.
_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no metric
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the error is in the records and in the summary
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # of Tune's two outputs the one that verbose=0 silences
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray announces in every process that this will be its default
}


class StudyError(Exception):
    """A study cannot run; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a study runs. None of it changes what the study is."""

    storage: str
    """An absolute folder or an ``s3://`` URI."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    pack: int = 1
    """Trials that train in one stack on each device; 1 for a process each."""
    max_concurrent: int | None = None
    """Trials at a time; None: as many as the machine's or the cluster's resources hold."""
    time_budget_s: float | None = None
    address: str | None = None
    """Of a Ray cluster; None starts Ray on this machine, or joins the cluster that this machine belongs to."""


def run_studies(specs: Sequence[StudySpec], corpus: Corpus, options: RunOptions, console: Console) -> str:
    """Runs the studies to their end, or to the end of the time budget.

    Returns:
        ``finished``, ``time_budget`` or ``interrupted`` (Ctrl-C).

    Raises:
        StudyError: if another driver works on one of the studies, or its records are of another corpus.
        StorageError: if the storage cannot be read or written.
    """
    started = dt.datetime.now(dt.UTC)
    where = provenance()
    with contextlib.ExitStack() as stack:
        cells = []
        for spec in specs:
            stack.enter_context(_only_driver(spec, options.storage))
            ledger = Ledger(spec, options.storage, git_commit=where["git_commit"])
            _check_corpus(ledger.records, corpus)
            cells.append(CellSearch(ledger, _journal(spec, options.storage)))
        if all(cell.is_finished() for cell in cells):
            return "finished"
        stack.enter_context(_ray(options))
        max_concurrent = options.max_concurrent or _concurrency(options)
        searcher = StudySearcher(cells, max_concurrent=max_concurrent)
        runs = RunLog(cells, where | _budget(corpus, options, max_concurrent), started)
        try:
            outcome = _fit(searcher, corpus, options, runs, console)
        except BaseException:
            runs.write("failed", ended=True)
            raise
        runs.write(outcome, ended=True)
        return outcome


def _fit(searcher: StudySearcher, corpus: Corpus, options: RunOptions, runs: RunLog, console: Console) -> str:
    interrupted = False
    trainable = make_trainable(
        [cell.spec for cell in searcher.cells],
        corpus,
        cpus_per_trial=options.cpus_per_trial,
        gpus_per_trial=options.gpus_per_trial,
        slots_per_device=options.pack,
    )
    # Tune's own state, which nobody reads (see the module's text), goes with the run.
    scratch_folder = tempfile.TemporaryDirectory(prefix="study-tune-", ignore_cleanup_errors=True)
    with scratch_folder as scratch, Progress(searcher, console) as progress:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=StudyScheduler(searcher),
                num_samples=-1,  # the searcher says when it is done
                reuse_actors=True,
                time_budget_s=options.time_budget_s,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="run",
                storage_path=scratch,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=_MAX_FAILURES),
                callbacks=[StudyCallback(searcher), runs, progress],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            interrupted = True
    if all(cell.is_finished() for cell in searcher.cells):
        return "finished"
    budget = options.time_budget_s
    return "time_budget" if not interrupted and budget is not None and runs.elapsed_s >= budget else "interrupted"


def _budget(corpus: Corpus, options: RunOptions, max_concurrent: int) -> dict[str, Any]:
    return {
        "argv": " ".join(sys.argv),
        "corpus_sha256": corpus.sha256,
        "vocab_size": len(corpus.vocab),
        "num_train_tokens": len(corpus.train),
        "num_valid_tokens": len(corpus.valid),
        "num_test_tokens": len(corpus.test),
        "max_concurrent": max_concurrent,
        "time_budget_s": options.time_budget_s,
    }


def _check_corpus(records: Records, corpus: Corpus) -> None:
    for row in records.read("runs"):
        if row["corpus_sha256"] != corpus.sha256:
            raise StudyError(
                f"study {records.study} was run on another {corpus.name}: its content was {row['corpus_sha256'][:12]}, "
                f"now it is {corpus.sha256[:12]}; use another --storage"
            )


def _journal(spec: StudySpec, storage: str) -> Path:
    # A journal needs appending and locks, which an object store lacks. It may be lost: the records rebuild it.
    folder = cache_directory() / "optuna" if is_remote(storage) else Path(storage) / "optuna"
    return folder / f"{spec.name}.journal"


@contextlib.contextmanager
def _only_driver(spec: StudySpec, storage: str) -> Iterator[None]:
    """Keeps a second driver on this machine away from the study: a record has one writer.

    The lock dies with its process, however that ends.
    """
    path = _journal(spec, storage).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    file: TextIO
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StudyError(
                f"study {spec.name} is being run by process {file.read().strip() or 'unknown'} on this machine; "
                "wait for it, or stop it first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _ray(options: RunOptions) -> Iterator[None]:
    """Ray for the length of a run, quiet, and SIGTERM treated like Ctrl-C."""
    os.environ.update({k: v for k, v in _TUNE_ENVIRONMENT.items() if k not in os.environ})
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    if ray.is_initialized():  # the driver runs inside a cluster (see launch)
        yield
        return
    try:
        # Without an address Ray joins the cluster that this machine is a node of, or starts on this machine alone.
        # (Its "auto" would also join whatever private Ray another study has started here.)
        ray.init(address=options.address, include_dashboard=None, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise StudyError(f"no Ray cluster answers at {options.address!r}: {error}") from None
    # Tune ends a run in order at SIGINT; a machine that is being taken away sends SIGTERM.
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        ray.shutdown()


def _concurrency(options: RunOptions) -> int:
    """How many trials the machine or cluster holds at once.

    Raises:
        StudyError: if it cannot hold one.
    """
    resources = ray.cluster_resources()
    if options.pack > 1:
        return options.pack * max(1, int(resources.get("GPU", 0)))
    wanted = {"CPU": options.cpus_per_trial, "GPU": options.gpus_per_trial}
    fits = [int(resources.get(name, 0) / amount + 1e-9) for name, amount in wanted.items() if amount > 0]
    if fits and min(fits) >= 1:
        return min(fits)
    if not ray._private.worker._global_node.is_head():  # not started by us
        return _DEFAULT_CLUSTER_CONCURRENCY  # the cluster's machines come when trials wait for them
    raise StudyError(
        f"a trial needs {wanted['CPU']:g} CPU and {wanted['GPU']:g} GPU, and this machine has "
        f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU; "
        "lower --cpus-per-trial or --gpus-per-trial"
    )
