"""``python -m study.run``: one study, or the four variants of a size and corpus with equal budgets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from study.cli.options import BUDGET, RESOURCES, add_flags, make_batch, storage_of, whole
from study.cli.plan import print_plan
from trainables.recipes import CORPORA, SIZES, VARIANTS
from trainables.storage.storage import StorageError


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``python -m study.run``."""
    parser = argparse.ArgumentParser(prog="python -m study.run", description=__doc__, allow_abbrev=False)
    parser.add_argument("--variant", required=True, choices=[*VARIANTS, "all"], help="the model; all: every one")
    parser.add_argument("--size", required=True, choices=list(SIZES), help="of the network")
    parser.add_argument("--corpus", default="ptb", choices=list(CORPORA), help="default: %(default)s")
    add_flags(parser, BUDGET)
    parser.add_argument(
        "--search-seed", type=whole(0), nargs="+", default=[0], metavar="I",
        help="seeds the search's random draws (default: 0); each is a study of its own, run one after another",
    )  # fmt: skip
    add_flags(parser, ["--storage", *RESOURCES, "--dry-run"])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parses, plans, runs. Returns the exit status."""
    arguments = build_parser().parse_args(argv)
    console = Console(highlight=False)
    try:
        return _run(arguments, console)
    except (ValueError, StorageError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2


def _run(arguments: argparse.Namespace, console: Console) -> int:
    storage = storage_of(arguments)
    if arguments.num_samples == 0 and len(set(arguments.search_seed)) > 1:
        seeds = " ".join(map(str, arguments.search_seed))
        raise ValueError(f"--search-seed takes one seed with --num-samples 0, which searches nothing, got {seeds}")
    batches = [
        make_batch(
            arguments.corpus,
            arguments.size,
            VARIANTS if arguments.variant == "all" else [arguments.variant],
            arguments,
            console,
            num_samples=arguments.num_samples,
            search_seed=search_seed,
        )
        for search_seed in dict.fromkeys(arguments.search_seed)
    ]
    print_plan(
        batches,
        console,
        cpus_per_trial=arguments.cpus_per_trial,
        max_concurrent=arguments.max_concurrent,
        storage=storage,
    )
    if arguments.dry_run:
        return 0
    # Ray takes seconds to import: only after the plan and its errors.
    from study.cli.launch import EXIT_STATUS, launch, print_next

    outcome = launch(batches, arguments, storage=storage, console=console)
    print_next(outcome, arguments, storage=storage, module="study.run", console=console)
    return EXIT_STATUS[outcome]


if __name__ == "__main__":
    sys.exit(main())
