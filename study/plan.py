"""What a run will do and how long it will take, printed before it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from study.progress import duration
from study.spec import StudySpec
from trainables.batching import num_windows
from trainables.recipes import CORPORA, SIZES, VARIANTS
from trainables.training import probe_step_seconds

_PROBE_LIMIT_S = 20.0
# An evaluation window's time in training windows: 0.36 with and 0.47 without the augmented loss, measured for the small
# PTB models on one CPU thread. It is a twelfth of an epoch's windows, so the estimate needs no better.
_EVALUATION_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long an epoch of one cell takes on this machine, from a short probe."""

    window_s: float
    """Seconds per training window."""
    epoch_s: float
    """Seconds per epoch, its evaluation included."""
    peak_memory_bytes: int


def estimate(spec: StudySpec, *, device: str, num_threads: int) -> Estimate:
    """Trains a few windows of the cell's model on random tokens of its vocabulary; needs no corpus."""
    torch.set_num_threads(num_threads)  # as a trial's process will have
    window_s, peak = probe_step_seconds(spec.paper, device=device, limit_s=_PROBE_LIMIT_S)
    tokens = CORPORA[spec.cell.corpus].num_tokens
    train, valid = (num_windows(tokens[s], spec.paper.batch_size, spec.paper.bptt) for s in ("train", "valid"))
    return Estimate(window_s=window_s, epoch_s=window_s * (train + _EVALUATION_SHARE * valid), peak_memory_bytes=peak)


def print_plan(
    specs: Sequence[StudySpec],
    console: Console,
    *,
    cpus_per_trial: float,
    gpus_per_trial: float,
    max_concurrent: int,
    storage: str,
    pack: int = 1,
) -> None:
    """Prints blocks, trials, epochs and hours of each study, and refuses what cannot fit.

    Raises:
        ValueError: if the trials that share a GPU need more memory than it has.
    """
    device = "cuda" if gpus_per_trial > 0 and torch.cuda.is_available() else "cpu"
    total_h = 0.0
    for spec in specs:
        cell = spec.cell
        guess = estimate(spec, device=device, num_threads=max(1, int(cpus_per_trial)))
        if pack == 1:  # a pack has been measured as it is
            _check_gpu_memory(guess, gpus_per_trial)
        hours = {block: epochs * guess.epoch_s / 3600 for block, epochs in spec.expected_epochs.items()}
        total_h += sum(hours.values())
        console.print(
            f"[bold]{VARIANTS[cell.variant].label}[/], {cell.size} ({SIZES[cell.size].hidden_size} units), "
            f"{CORPORA[cell.corpus].title}: {spec.paper.num_params:,} parameters, study {spec.name}",
            highlight=False,
            soft_wrap=True,
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("block")
        for name in ("trials", "epochs", f"{device} hours"):
            table.add_column(name, justify="right")
        for block, trials in spec.num_trials.items():
            table.add_row(block, str(trials), f"{spec.expected_epochs[block]:,.0f}", _hours(hours[block]))
        table.add_row(
            "all", str(sum(spec.num_trials.values())), f"{sum(spec.expected_epochs.values()):,.0f}",
            _hours(sum(hours.values())), style="bold",
        )  # fmt: skip
        console.print(table)
        rungs = ", ".join(map(str, spec.rungs)) or "none"
        console.print(
            f"full length {spec.max_epochs} epochs; ASHA compares tpe trials at epoch {rungs}; "
            f"{duration(guess.epoch_s)} per epoch, measured here on {device} "
            f"({guess.window_s * 1e3:.1f} ms per window, {guess.peak_memory_bytes / 2**20:,.0f} MiB at most)\n",
            highlight=False,
            soft_wrap=True,
        )
    wall = duration(total_h * 3600 / max_concurrent)
    console.print(
        f"{max_concurrent} {'trial' if max_concurrent == 1 else 'trials'} at a time: about [bold]{wall}[/] "
        f"on this machine; records go to {storage}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if device == "cpu" and any(SIZES[spec.cell.size].hidden_size >= SIZES["medium"].hidden_size for spec in specs):
        console.print(
            "This machine trains on its CPU. A study of this size wants a GPU; --size tiny or --size small, fewer "
            "--num-samples or --max-epochs fit a laptop.",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def default_gpus_per_trial(size: str, *, num_gpus: int) -> float:
    """The part of a GPU that a trial gets: small models leave most of one idle. Parts divide a GPU evenly."""
    if not num_gpus:
        return 0.0
    return {"tiny": 0.125, "small": 0.25, "medium": 0.5}.get(size, 1.0)


def local_concurrency(cpus_per_trial: float, gpus_per_trial: float, pack: int = 1) -> int:
    """Trials that this machine holds at a time."""
    if pack > 1:
        return pack * max(1, torch.cuda.device_count())
    by_cpu = int((os.cpu_count() or 1) / cpus_per_trial) if cpus_per_trial > 0 else 10**6
    by_gpu = int(torch.cuda.device_count() / gpus_per_trial) if gpus_per_trial > 0 else 10**6
    return max(1, min(by_cpu, by_gpu))


def _check_gpu_memory(guess: Estimate, gpus_per_trial: float) -> None:
    # A fraction of a GPU is bookkeeping to Ray: nothing but this keeps trials that share one within its memory.
    if not gpus_per_trial or not torch.cuda.is_available():
        return
    memory, sharers = torch.cuda.get_device_properties(0).total_memory, max(1, int(1 / gpus_per_trial))
    if sharers * guess.peak_memory_bytes > memory:
        most = memory // guess.peak_memory_bytes
        raise ValueError(
            f"--gpus-per-trial {gpus_per_trial:g} puts {sharers} trials on a GPU, and each needs "
            f"{guess.peak_memory_bytes / 2**30:.1f} GiB of its {memory / 2**30:.1f} GiB; at most {most} fit"
        )


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 0.1 else f"{hours:.3f}"
