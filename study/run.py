"""``python -m study.run``: one study, or the four variants of a size and corpus with equal budgets."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from study.arguments import real, seconds, slots, whole
from study.packs import check_pack
from study.plan import default_gpus_per_trial, local_concurrency, print_plan
from study.records import Cell, default_storage, is_remote
from study.spec import NUM_SEEDS, StudySpec
from trainables.precision import PRECISIONS, check_precision, default_precision
from trainables.recipes import CORPORA, SIZES, VARIANTS
from trainables.storage import StorageError, open_storage


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``python -m study.run``."""
    parser = argparse.ArgumentParser(prog="python -m study.run", description=__doc__, allow_abbrev=False)
    parser.add_argument("--variant", required=True, choices=[*VARIANTS, "all"], help="the model; all: the four of them")
    parser.add_argument("--size", required=True, choices=list(SIZES))
    parser.add_argument("--corpus", default="ptb", choices=list(CORPORA))
    parser.add_argument("--num-samples", type=whole(1), metavar="N", help="trials of the search (default: the size's)")
    parser.add_argument("--max-epochs", type=whole(1), metavar="E", help="full length of a trial (default: the size's)")
    parser.add_argument(
        "--seeds", type=whole(0), default=NUM_SEEDS, metavar="S", help="fresh seeds of the confirm block"
    )
    parser.add_argument("--search-seed", type=whole(0), default=0, metavar="I")
    parser.add_argument("--storage", default=default_storage(), metavar="DIR|s3://...", help="default: %(default)s")
    parser.add_argument("--gpus-per-trial", type=real(0), metavar="F", help="default: by size, where there is a GPU")
    parser.add_argument("--cpus-per-trial", type=real(0.01), default=1.0, metavar="F")
    parser.add_argument("--max-concurrent", type=whole(1), metavar="N", help="default: what the machine holds")
    parser.add_argument("--pack", type=slots, default=1, metavar="K|auto", help="trials in one stack on each GPU")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: tf32 on a GPU, else fp32")
    parser.add_argument(
        "--time-budget", type=seconds, metavar="2h", help="stop in order after this long, to resume later"
    )
    parser.add_argument("--address", metavar="auto|ray://...", help="of a Ray cluster")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
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
    size = SIZES[arguments.size]
    gpus = _gpus_per_trial(arguments)
    device = "cuda" if gpus > 0 else "cpu"
    precision = check_precision(arguments.precision or default_precision(device), device)
    specs = [
        StudySpec(
            cell=Cell(arguments.corpus, arguments.size, variant),
            num_samples=arguments.num_samples or size.num_samples,
            max_epochs=arguments.max_epochs or size.max_epochs,
            num_seeds=arguments.seeds,
            search_seed=arguments.search_seed,
            precision=precision,
        )
        for variant in (VARIANTS if arguments.variant == "all" else [arguments.variant])
    ]
    storage = arguments.storage if is_remote(arguments.storage) else str(Path(arguments.storage).expanduser().resolve())
    open_storage(storage)  # refuses what is no storage
    pack = check_pack(specs, arguments.pack, device=device, console=console)
    concurrent = arguments.max_concurrent or local_concurrency(arguments.cpus_per_trial, gpus, pack)
    print_plan(
        specs,
        console,
        cpus_per_trial=arguments.cpus_per_trial,
        gpus_per_trial=gpus,
        pack=pack,
        max_concurrent=concurrent,
        storage=storage,
    )
    if arguments.dry_run:
        return 0
    # Ray takes seconds to import: the plan, and a mistake in it, should not have to wait for it.
    from study.launch import launch

    return launch(specs, arguments, storage=storage, gpus_per_trial=gpus, pack=pack, console=console)


def _gpus_per_trial(arguments: argparse.Namespace) -> float:
    gpus = arguments.gpus_per_trial
    if gpus is None:
        if arguments.address or os.environ.get("RAY_ADDRESS"):
            raise ValueError(
                "--address needs --gpus-per-trial: the part of a GPU that a trial gets on the cluster's machines, "
                "such as 0.25, or 0 for none; it cannot be read off this machine"
            )
        return default_gpus_per_trial(arguments.size, num_gpus=torch.cuda.device_count())
    if 0 < gpus < 1 and abs(1 / gpus - round(1 / gpus)) > 1e-9 or gpus > 1 and gpus != int(gpus):
        raise ValueError(f"--gpus-per-trial must be a whole number or divide 1 (such as 0.5 or 0.25), got {gpus:g}")
    return gpus


if __name__ == "__main__":
    sys.exit(main())
