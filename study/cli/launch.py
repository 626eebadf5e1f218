"""Runs planned studies: loads each corpus, runs the driver, prints a summary and the next command."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import ray
from rich.console import Console

from study.cli.options import Batch
from study.cli.summary import print_summary
from study.driver.driver import RunOptions, run_studies
from study.driver.ray_session import StudyError, sigterm_like_ctrl_c
from study.figure1.grid import GridOptions, SubspaceGrid, run_grid
from study.records.records import default_storage
from study.spec.spec import StudySpec
from trainables.data.corpora import CorpusError, load_corpus
from trainables.storage.storage import StorageError

EXIT_STATUS = {"finished": 0, "time_budget": 0, "refused": 1, "interrupted": 130}
"""Outcome of a command -> its exit status; 130 is what shells report for Ctrl-C."""


def launch(batches: Sequence[Batch], arguments: argparse.Namespace, *, storage: str, console: Console) -> str:
    """Runs the studies of each batch side by side, and the batches one after another.

    Returns:
        The outcome, a key of ``EXIT_STATUS``. A batch that is not finished is the last one.
    """
    with sigterm_like_ctrl_c():
        try:
            return _launch(batches, arguments, storage, console)
        except KeyboardInterrupt:  # between two batches, or while the summary is printed
            return "interrupted"


def _launch(batches: Sequence[Batch], arguments: argparse.Namespace, storage: str, console: Console) -> str:
    started = time.monotonic()
    for batch in batches:
        left = None if arguments.time_budget is None else arguments.time_budget - (time.monotonic() - started)
        if left is not None and left <= 0:
            return "time_budget"
        options = RunOptions(
            storage=storage,
            cpus_per_trial=arguments.cpus_per_trial,
            gpus_per_trial=batch.gpus_per_trial,
            pack=batch.pack,
            max_concurrent=arguments.max_concurrent,
            time_budget_s=left,
            address=arguments.address,
        )
        outcome = _drive(partial(_run_studies, batch.specs, options), options.address, console)
        if outcome == "refused":
            return outcome
        print_summary(batch.specs, storage, console)
        if outcome != "finished":
            return outcome
    return "finished"


def launch_grid(grid: SubspaceGrid, options: GridOptions, console: Console) -> str:
    """Runs Figure 1's grid. Returns the outcome, a key of ``EXIT_STATUS``."""
    with sigterm_like_ctrl_c():
        return _drive(partial(run_grid, grid, options), options.address, console)


def print_next(outcome: str, arguments: argparse.Namespace, *, storage: str, module: str, console: Console) -> None:
    """Prints where the records are and the next command: the report, or the same one again.

    Args:
        outcome: of ``launch``.
        arguments: of the command line.
        storage: where the records are.
        module: that was run, with the arguments of this process.
        console: to print to.
    """
    if outcome == "refused":  # the error says what to do
        return
    if outcome == "finished":
        where = "" if arguments.storage == default_storage() else f" --results {shlex.quote(arguments.storage)}"
        console.print(f"\nrecords: {storage}\nnext:    python -m analysis.report{where}", markup=False, soft_wrap=True)
        return
    reason = "the time budget is used up" if outcome == "time_budget" else "interrupted"
    console.print(
        f"\n{reason}; nothing is lost: every finished epoch is on record, and the same command goes on\n"
        f"records: {storage}\nnext:    {shlex.join(['python', '-m', module, *sys.argv[1:]])}",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _run_studies(specs: Sequence[StudySpec], options: RunOptions, console: Console) -> str:
    return run_studies(specs, load_corpus(specs[0].setting.corpus), options, console)


def _drive(driver: Callable[[Console], str], address: str | None, console: Console) -> str:
    """Runs a driver; converts its errors and Ctrl-C to an outcome."""
    try:
        return _drive_in_cluster(driver, address) if (address or "").startswith("ray://") else driver(console)
    except (CorpusError, StudyError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return "refused"
    except StorageError as error:
        console.print(
            f"error: {error}\nevery epoch on record is safe; once the storage is back, the same command goes on",
            style="red", markup=False, soft_wrap=True,
        )  # fmt: skip
        return "refused"
    except KeyboardInterrupt:
        return "interrupted"


def _drive_in_cluster(driver: Callable[[Console], str], address: str | None) -> str:
    # A driver that uses the cluster through a client connection dies with it, and cannot share objects with Tune's
    # loop: the whole driver runs in the cluster instead, and this process waits for it.
    try:
        ray.init(address=address, log_to_driver=True)
    except ConnectionError as error:
        raise StudyError(
            f"no Ray cluster answers at {address!r}: {error}. A cluster that asks for a token, as Ray's do by "
            "default, does not answer without it either: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ) from None
    try:
        return ray.get(_call_in_cluster.remote(driver))
    finally:
        ray.shutdown()


@ray.remote(num_cpus=0)
def _call_in_cluster(driver: Callable[[Console], str]) -> str:
    """The driver, on a machine of the cluster."""
    return driver(Console(highlight=False, force_terminal=False))
