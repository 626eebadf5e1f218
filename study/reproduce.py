"""``python -m study.reproduce``: runs the studies behind one table or figure of the paper, then renders it.

Every variant gets the same budget. The same command resumes where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence

import torch
from rich.console import Console

from study.cli.options import Batch, gpus_per_trial, make_batch, storage_of
from study.cli.paper_targets import FIGURE_1, TARGETS, Target, add_figure_1, add_target
from study.cli.plan import local_concurrency, print_plan
from study.search.predict import Question, predict, questions
from trainables.data.corpora import Corpus, CorpusError, load_corpus
from trainables.data.phrases import parse_phrase
from trainables.storage.storage import StorageError


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``python -m study.reproduce``: a parser for each target, with the flags that it uses."""
    parser = argparse.ArgumentParser(prog="python -m study.reproduce", description=__doc__, allow_abbrev=False)
    parsers = parser.add_subparsers(dest="target", required=True, metavar="TARGET")
    for target in TARGETS.values():
        add_target(parsers, target)
    add_figure_1(parsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parses, plans, runs, renders. Returns the exit status."""
    arguments = build_parser().parse_args(argv)
    console = Console(highlight=False)
    try:
        if arguments.target == FIGURE_1:
            return _run_figure_1(arguments, console)
        return _run_studies(TARGETS[arguments.target], arguments, console)
    except (ValueError, StorageError, CorpusError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 1 if isinstance(error, CorpusError) else 2
    except KeyboardInterrupt:  # before the studies have started, or after they have ended
        return 130


def _run_studies(target: Target, arguments: argparse.Namespace, console: Console) -> int:
    storage = storage_of(arguments)
    phrases = [parse_phrase(text) for text in arguments.phrase]
    batches = [
        make_batch(
            corpus,
            size,
            target.variants,
            arguments,
            console,
            num_samples=arguments.num_samples,
            num_sessions=target.num_sessions,
        )
        for corpus, size in target.settings(arguments.size, arguments.corpus)
    ]
    print_plan(
        batches,
        console,
        cpus_per_trial=arguments.cpus_per_trial,
        max_concurrent=arguments.max_concurrent,
        storage=storage,
    )
    predictions = "predictions of each confirm trial's best weights, and " if target.predicts else ""
    console.print(f"then {predictions}python {shlex.join(_report(arguments, storage))}", markup=False, soft_wrap=True)
    if arguments.dry_run:
        return 0
    # A mistake in a phrase is found before any work.
    corpus = load_corpus(batches[0].specs[0].setting.corpus) if target.predicts else None
    asked = questions(phrases, corpus) if corpus else []
    # Ray takes seconds to import: only after the plan and its errors.
    from study.cli.launch import launch

    outcome = launch(batches, arguments, storage=storage, console=console)
    if outcome == "finished" and corpus:
        outcome = _predict(batches[0], storage, asked, corpus, console)
    return _conclude(outcome, arguments, storage, console)


def _predict(batch: Batch, storage: str, asked: Sequence[Question], corpus: Corpus, console: Console) -> str:
    """Records Table 4's predictions; returns the outcome."""
    device = "cuda" if batch.gpus_per_trial > 0 and torch.cuda.is_available() else "cpu"
    try:
        num_answered = predict(batch.specs, storage, asked, corpus, device=device, console=console)
    except KeyboardInterrupt:
        return "interrupted"
    return "finished" if num_answered else "refused"


def _run_figure_1(arguments: argparse.Namespace, console: Console) -> int:
    from study.cli.launch import launch_grid
    from study.figure1.grid import GridOptions, build_grid, print_grid_plan

    storage, gpus = storage_of(arguments), gpus_per_trial(arguments, "small")
    shared = {} if arguments.max_epochs is None else {"num_epochs": arguments.max_epochs}
    grid = build_grid(num_seeds=arguments.seeds, **shared)
    options = GridOptions(
        storage=storage,
        cpus_per_trial=arguments.cpus_per_trial,
        gpus_per_trial=gpus,
        max_concurrent=arguments.max_concurrent,
        time_budget_s=arguments.time_budget,
        address=arguments.address,
    )
    print_grid_plan(
        grid,
        console,
        storage=storage,
        cpus_per_trial=arguments.cpus_per_trial,
        max_concurrent=arguments.max_concurrent or local_concurrency(arguments.cpus_per_trial, gpus),
    )
    if arguments.dry_run:
        return 0
    return _conclude(launch_grid(grid, options, console), arguments, storage, console)


def _conclude(outcome: str, arguments: argparse.Namespace, storage: str, console: Console) -> int:
    """Renders the report, or prints how to resume; returns the exit status."""
    from study.cli.launch import EXIT_STATUS, print_next

    status = EXIT_STATUS[outcome]
    if status == 0:
        report = _report(arguments, storage)
        console.print(f"\n$ python {shlex.join(report)}", markup=False, soft_wrap=True)
        sys.stdout.flush()  # before the report's process writes
        status = subprocess.run([sys.executable, *report], check=False).returncode
    if outcome != "finished":
        print_next(outcome, arguments, storage=storage, module="study.reproduce", console=console)
    return status


def _report(arguments: argparse.Namespace, storage: str) -> list[str]:
    name = arguments.target
    parts = [name, *(TARGETS[name].also_renders if name in TARGETS else ())]
    return ["-m", "analysis.report", "--results", storage, "--only", ",".join(parts)]


if __name__ == "__main__":
    sys.exit(main())
