"""The flags, argument types and batches that the commands which run studies share."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from study.driver.packs import check_pack
from study.records.records import Setting, default_storage, is_remote
from study.spec.spec import NUM_SEEDS, StudySpec
from trainables.config import paper_config
from trainables.fused.precision import PRECISIONS, trial_precision
from trainables.recipes import SIZES
from trainables.storage.storage import open_storage

RESOURCES = (
    "--gpus-per-trial", "--cpus-per-trial", "--max-concurrent", "--pack", "--precision", "--time-budget", "--address",
)  # fmt: skip
"""Flags of how studies run; only the precision is part of a study's identity."""
BUDGET = ("--num-samples", "--max-epochs", "--seeds")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Studies of one size and corpus, which run side by side with equal budgets."""

    specs: tuple[StudySpec, ...]
    gpus_per_trial: float
    pack: int | None
    """Trials in one stack on each GPU; None: to be measured on one of the cluster's GPUs."""


def add_flags(
    parser: argparse.ArgumentParser, flags: Iterable[str], *, changes: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Adds some of the flags that the commands have in common.

    Args:
        parser: to add them to.
        flags: which.
        changes: flag -> arguments of ``add_argument`` that differ here.
    """
    every: dict[str, dict[str, Any]] = {
        "--num-samples": {
            "type": whole(0), "metavar": "N",
            "help": "trials of the search (default: the size's); 0: none, only the paper's recipe on fresh seeds",
        },
        "--max-epochs": {"type": whole(1), "metavar": "E", "help": "full length of a trial (default: the size's)"},
        "--seeds": {
            "type": whole(0), "default": NUM_SEEDS, "metavar": "S", "help": "fresh seeds of the confirm block",
        },
        "--storage": {"default": default_storage(), "metavar": "DIR|s3://...", "help": "default: %(default)s"},
        "--gpus-per-trial": {"type": real(0), "metavar": "F", "help": "default: by size, where there is a GPU"},
        "--cpus-per-trial": {"type": real(0.01), "default": 1.0, "metavar": "F", "help": "default: %(default)g"},
        "--max-concurrent": {"type": whole(1), "metavar": "N", "help": "default: what the machine holds"},
        "--pack": {"type": slots, "default": 1, "metavar": "K|auto", "help": "trials in one stack on each GPU"},
        "--precision": {
            "choices": PRECISIONS,
            "help": "of the matrix products (default: tf32 on a GPU, else fp32); bf16 on a CPU that multiplies it",
        },
        "--time-budget": {"type": seconds, "metavar": "2h", "help": "stop in order after this long, to resume later"},
        "--address": {"metavar": "auto|ray://...", "help": "of a Ray cluster"},
        "--dry-run": {"action": "store_true", "help": "print the plan and stop"},
    }  # fmt: skip
    for flag in flags:
        parser.add_argument(flag, **every[flag] | (changes or {}).get(flag, {}))


def storage_of(arguments: argparse.Namespace) -> str:
    """``--storage`` as an absolute folder or an ``s3://`` URI.

    Raises:
        StorageError: if it is neither.
    """
    given = arguments.storage
    storage = given if is_remote(given) else str(Path(given).expanduser().resolve())
    open_storage(storage)
    return storage


def make_batch(
    corpus: str,
    size: str,
    variants: Iterable[str],
    arguments: argparse.Namespace,
    console: Console,
    *,
    num_samples: int | None,
    num_sessions: int = 1,
    search_seed: int = 0,
) -> Batch:
    """The studies of some variants with the budget and the resources of a command line.

    Args:
        corpus: a name in ``recipes.CORPORA``.
        size: a name in ``recipes.SIZES``.
        variants: names in ``recipes.VARIANTS``.
        arguments: with the flags of ``BUDGET`` and ``RESOURCES``; ``max_epochs`` is that of a session.
        console: prints the number that ``--pack auto`` has picked.
        num_samples: trials of the search; None for the size's.
        num_sessions: of each trial.
        search_seed: of the studies.

    Raises:
        ValueError: if a flag breaks its rule; the message names it.
    """
    gpus = gpus_per_trial(arguments, size)
    device = "cuda" if gpus > 0 else "cpu"
    specs = tuple(
        StudySpec(
            setting=Setting(corpus, size, variant),
            num_samples=SIZES[size].num_samples if num_samples is None else num_samples,
            max_epochs=num_sessions * (arguments.max_epochs or SIZES[size].max_epochs),
            num_sessions=num_sessions,
            num_seeds=arguments.seeds,
            search_seed=search_seed,
            precision=trial_precision(paper_config(variant, size, corpus), arguments.precision, device),
        )
        for variant in variants
    )
    pack = check_pack(specs, arguments.pack, device=device, console=console)
    return Batch(specs=specs, gpus_per_trial=gpus, pack=pack)


def gpus_per_trial(arguments: argparse.Namespace, size: str) -> float:
    """``--gpus-per-trial``, or its default for a size on this machine.

    Raises:
        ValueError: if it does not divide a GPU, or cannot be known.
    """
    gpus = arguments.gpus_per_trial
    if gpus is None:
        if arguments.address or os.environ.get("RAY_ADDRESS"):
            raise ValueError(
                "--address needs --gpus-per-trial: the part of a GPU that a trial gets on the cluster's machines, "
                "such as 0.25, or 0 for none; it cannot be read off this machine"
            )
        return default_gpus_per_trial(size, num_gpus=torch.cuda.device_count())
    if 0 < gpus < 1 and abs(1 / gpus - round(1 / gpus)) > 1e-9 or gpus > 1 and gpus != int(gpus):
        raise ValueError(f"--gpus-per-trial must be a whole number or divide 1 (such as 0.5 or 0.25), got {gpus:g}")
    return gpus


def default_gpus_per_trial(size: str, *, num_gpus: int) -> float:
    """The part of a GPU for a trial: small models leave most of one idle. Parts divide a GPU evenly."""
    if not num_gpus:
        return 0.0
    return {"tiny": 0.125, "small": 0.25, "medium": 0.5}.get(size, 1.0)


def whole(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least ``low``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text) or int(text) < low:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {low}, got {text!r}")
        return int(text)

    return parse


def slots(text: str) -> int | None:
    """An argparse type: a number of slots, or None for ``auto``."""
    return None if text == "auto" else whole(1)(text)


def real(low: float) -> Callable[[str], float]:
    """An argparse type: a finite number of at least ``low``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value < math.inf:
            raise argparse.ArgumentTypeError(f"must be a number of at least {low:g}, got {text!r}")
        return value

    return parse


def seconds(text: str) -> float:
    """An argparse type: a length of time such as 90s, 30m, 2h or 1.5d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"must be a number and a unit (s, m, h or d), such as 90s or 2h, got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
