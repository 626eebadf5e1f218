"""Section 6.2's experiment (Figure 1) as a Ray Tune grid: points of (beta, tau) times seeds, resumable.

``build_grid(...)`` makes the grid, ``print_grid_plan(grid, console, ...)`` prints its size and estimated time, and
``run_grid(grid, options, console)`` runs what is missing. The driver alone writes the records, to the table
``subspace``. More points or more seeds extend the same study.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console

from study.driver.lease import LeaseCheck, holding
from study.driver.progress import duration
from study.driver.ray_session import StudyError, fit, ray_session
from study.figure1.ledger import SETTING, GridLedger
from study.search.searcher import NotRestored
from study.search.trial_error import trial_error
from trainables.data.corpora import Corpus, load_corpus
from trainables.figure1.config import SubspaceConfig
from trainables.figure1.trainable import SubspaceTrainable
from trainables.figure1.training import measure_epoch_s
from trainables.recipes import FIGURE1
from trainables.storage.storage import StorageError

_MAX_FAILURES = 10  # of a run, each time Ray starts it again; so does the next start of the grid
_LINE_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class SubspaceGrid:
    """The runs of the experiment. Their shared fields identify the study; points and seeds may be added later."""

    points: tuple[tuple[float, float], ...]
    """(beta, tau), each once."""
    num_seeds: int
    shared: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every run's ``SubspaceConfig`` that are not its defaults."""

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("a grid needs at least one point")
        if not isinstance(self.num_seeds, int) or self.num_seeds < 1:
            raise ValueError(f"num_seeds must be a whole number of at least 1, got {self.num_seeds!r}")
        for beta, tau in self.points:
            self.config(beta, tau, 0)

    def config(self, beta: float, tau: float, seed: int) -> SubspaceConfig:
        """One run's configuration."""
        return SubspaceConfig.from_dict(dict(self.shared) | {"beta": beta, "tau": tau, "seed": seed})

    @property
    def name(self) -> str:
        """The study's name, with a hash of the fields that its runs share."""
        identity = self.config(*self.points[0], 0).to_dict()
        for name in ("beta", "tau", "seed"):
            del identity[name]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return f"figure1-{SETTING.corpus}-{digest}"

    def runs(self) -> dict[str, SubspaceConfig]:
        """Every run by its id: all points of one seed before the next seed, so that half a grid is a whole figure."""
        return {
            f"beta{beta:g}-tau{tau:g}-s{seed}": self.config(beta, tau, seed)
            for seed in range(self.num_seeds)
            for beta, tau in self.points
        }


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """Options of a run; none is part of the study's identity."""

    storage: str
    """An absolute folder or an ``s3://`` URI."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    max_concurrent: int | None = None
    """Runs at a time; None: as many as the machine holds."""
    time_budget_s: float | None = None
    address: str | None = None
    """Of a Ray cluster; None for this machine."""


def build_grid(
    *,
    betas: Iterable[float] = FIGURE1.betas,
    taus: Iterable[float] = FIGURE1.taus,
    num_seeds: int = FIGURE1.num_seeds,
    **shared: Any,
) -> SubspaceGrid:
    """Figure 1's grid: ``betas`` at tau 10 (panel a) and ``taus`` at beta 1 (panel b), a shared point once.

    Args:
        betas: of panel a.
        taus: of panel b.
        num_seeds: runs of each point.
        **shared: other fields of ``SubspaceConfig``, such as ``num_epochs``; a change makes another study.

    Raises:
        ValueError: if a value breaks its rule.
    """
    points = [(float(beta), FIGURE1.tau) for beta in betas] + [(1.0, float(tau)) for tau in taus]
    return SubspaceGrid(points=tuple(dict.fromkeys(points)), num_seeds=num_seeds, shared=shared)


def print_grid_plan(
    grid: SubspaceGrid,
    console: Console,
    *,
    storage: str,
    cpus_per_trial: float = 1.0,
    max_concurrent: int | None = None,
) -> None:
    """Prints points, runs, epochs and the estimated time left, from a few steps measured on the CPU.

    Needs neither Ray nor the corpus.
    """
    runs, ledger = grid.runs(), GridLedger(grid.name, grid.runs(), storage)
    example, concurrent = next(iter(runs.values())), max_concurrent or 1
    missing = {name: config for name, config in runs.items() if name not in ledger.ended}
    num_epochs = sum(config.num_epochs - ledger.epochs.get(name, 0) for name, config in missing.items())
    most = "" if example.plateau_epochs is None else "at most "  # a run may end earlier
    epoch_s = measure_epoch_s(example, num_threads=max(1, int(cpus_per_trial)))
    console.print(
        f"[bold]Figure 1[/] (section 6.2): {example.num_tokens:,} tokens, 2 x {example.hidden_size} units, "
        f"optimizer {example.optimizer}, target gradient {example.target_gradient}\n"
        f"study {grid.name}; records go to {storage}",
        soft_wrap=True,
    )
    for tau in sorted({tau for _, tau in grid.points}):
        console.print(f"  tau {tau:<4g} beta {', '.join(f'{beta:g}' for beta, t in grid.points if t == tau)}")
    console.print(
        f"{len(grid.points)} points x {grid.num_seeds} seeds = {len(runs)} runs of {most}{example.num_epochs} epochs, "
        f"{len(runs) - len(missing)} done\n"
        f"{most}{num_epochs} epochs left at {epoch_s:.1f} s, measured here on cpu: "
        f"[bold]{duration(num_epochs * epoch_s / concurrent)}[/] with {concurrent} at a time",
        soft_wrap=True,
    )


def run_grid(grid: SubspaceGrid, options: GridOptions, console: Console, *, corpus: Corpus | None = None) -> str:
    """Runs the runs of the grid that have not ended.

    Args:
        grid: the runs.
        options: how.
        console: prints a line for each finished run, and one a minute.
        corpus: None for the real one.

    Returns:
        ``finished``, ``time_budget`` or ``interrupted`` (Ctrl-C).

    Raises:
        StudyError: if another driver works on the study, its records are of another corpus, or a run ended in an error.
        CorpusError: if the corpus cannot be had.
        StorageError: if the storage cannot be read or written.
    """
    corpus = corpus or load_corpus(SETTING.corpus)
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        leases = stack.enter_context(holding([grid.name], options.storage, tell=console.print))
        ledger = GridLedger(grid.name, grid.runs(), options.storage, corpus=corpus)
        jobs = ledger.jobs()
        if not jobs:
            return "finished"
        stack.enter_context(ray_session(options.address))
        trainable = tune.with_resources(
            tune.with_parameters(SubspaceTrainable, train=corpus.train),
            {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial},
        )
        interrupted = fit(
            trainable,
            param_space={"job": tune.grid_search([job.to_dict() for job in jobs])},
            max_concurrent_trials=options.max_concurrent,
            time_budget_s=options.time_budget_s,
            max_failures=_MAX_FAILURES,
            callbacks=[LeaseCheck(leases), recorder := _Recorder(ledger, console)],
        )
    if not ledger.jobs():
        return "finished"
    if recorder.errors:
        name, error = next(iter(recorder.errors.items()))
        raise StudyError(
            f"{len(recorder.errors)} runs ended in an error, {name} with: {error}; the others are on record, and the "
            "same command tries again"
        )
    budget = options.time_budget_s
    return "time_budget" if not interrupted and budget and time.monotonic() - begun >= budget else "interrupted"


class _Recorder(NotRestored, tune.Callback):
    """Records every result and prints the grid's progress."""

    def __init__(self, ledger: GridLedger, console: Console) -> None:
        self._ledger, self._console = ledger, console
        self._last_line = time.monotonic()
        self.errors: dict[str, str] = {}
        """Id -> error of a run that Ray has stopped retrying."""

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Records the epoch."""
        name = trial.config["job"]["trial_id"]
        if "epoch" not in result:
            return
        self._ledger.record(name, result)
        now = time.monotonic()
        if result.get("done") or now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            ended = sum(name in self._ledger.ended for name in self._ledger.runs)
            what = result.get("failure") or (
                f"epoch {result['epoch']} of at most {self._ledger.runs[name].num_epochs}, "
                f"distance {result['subspace_distance']:.3f}, {result['epoch_s']:.1f} s an epoch"
            )
            self._console.print(f"{name}: {what}; {ended}/{len(self._ledger.runs)} runs", markup=False, soft_wrap=True)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Keeps the error of a run that Tune has stopped retrying.

        Raises:
            StorageError: if the storage was unavailable to the run.
        """
        error = trial_error(trial)
        if error.storage:
            raise StorageError(error.text)
        self.errors[trial.config["job"]["trial_id"]] = error.text
