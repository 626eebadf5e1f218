"""Prints a run's plan and estimated time before it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from study.cli.options import Batch
from study.driver.progress import duration
from study.spec.spec import StudySpec
from trainables.data.batching import num_windows
from trainables.fused import supports
from trainables.fused.precision import cpu_precisions
from trainables.models import num_params
from trainables.pack.probe import in_own_process, probe_step_seconds
from trainables.recipes import CORPORA, SIZES, VARIANTS

_PROBE_LIMIT_S = 8.0
_COMPARISON_LIMIT_S = 3.0  # to time a window in the other precision
_MIN_GAIN = 1.1  # least speed-up of bf16 that pays: timings of a few windows vary by as much


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long an epoch of one setting takes on this machine, from a short probe."""

    window_s: float
    """Seconds per training window."""
    epoch_s: float
    """Seconds per epoch, its evaluation included."""
    final_s: float
    """Seconds that a confirm trial takes after its last epoch: its best weights read validation and test split as one
    stream."""
    peak_memory_bytes: int

    def hours(self, spec: StudySpec) -> dict[str, float]:
        """Device-hours of each block of a study."""
        seconds = {block: epochs * self.epoch_s for block, epochs in spec.expected_epochs.items()}
        seconds["confirm"] += spec.num_trials["confirm"] * self.final_s
        return {block: s / 3600 for block, s in seconds.items()}


def estimate(spec: StudySpec, *, device: str, num_threads: int) -> Estimate:
    """Estimates from a short training and evaluation on random tokens; needs no corpus."""
    torch.set_num_threads(num_threads)  # as in a trial's process
    # A driver without the cluster's GPUs measures on its own CPU, which may not have the precision.
    has_it = device == "cuda" or spec.precision in cpu_precisions()
    precision = spec.precision if has_it else None
    paper = spec.paper
    measure = partial(probe_step_seconds, paper, device=device, precision=precision, limit_s=_PROBE_LIMIT_S)
    probe = in_own_process(measure) if device == "cuda" else measure()  # this process would keep the GPU's memory
    tokens = CORPORA[spec.setting.corpus].num_tokens
    training_s = probe.window_s * num_windows(tokens["train"], paper.batch_size, paper.bptt)
    return Estimate(
        window_s=probe.window_s,
        epoch_s=training_s + probe.evaluation_token_s * tokens["valid"],
        final_s=probe.single_stream_token_s * (tokens["valid"] + tokens["test"]),
        peak_memory_bytes=probe.peak_memory_bytes,
    )


def precision_advice(spec: StudySpec, guess: Estimate) -> str | None:
    """A line that compares fp32 and bf16 on this CPU; None if the CPU or the model supports fp32 alone.

    Args:
        spec: a study that is to be trained on this machine's CPU.
        guess: its estimate, in the study's own precision.
    """
    if len(cpu_precisions()) < 2 or not supports(spec.paper):
        return None
    window_s = {spec.precision: guess.window_s}
    for precision in cpu_precisions():
        if precision not in window_s:
            probe = probe_step_seconds(spec.paper, device="cpu", precision=precision, limit_s=_COMPARISON_LIMIT_S)
            window_s[precision] = probe.window_s
    fp32, bf16 = window_s["fp32"] * 1e3, window_s["bf16"] * 1e3
    pays = "pays" if fp32 > _MIN_GAIN * bf16 else "does not pay"
    label = VARIANTS[spec.setting.variant].label
    return f"a window of {label} takes {fp32:.1f} ms in fp32 and {bf16:.1f} ms in bf16: --precision bf16 {pays} here"


def print_plan(
    batches: Sequence[Batch], console: Console, *, cpus_per_trial: float, max_concurrent: int | None, storage: str
) -> None:
    """Prints blocks, trials, epochs and hours of each study, and refuses trials that do not fit on their GPU.

    Args:
        batches: the studies, in the order in which they will run.
        console: to print to.
        cpus_per_trial: cores of a trial.
        max_concurrent: trials at a time; None for what this machine holds.
        storage: where the records go.

    Raises:
        ValueError: if the trials that share a GPU need more memory than it has.
    """
    all_s, advised = 0.0, False
    for batch in batches:
        device = "cuda" if batch.gpus_per_trial > 0 and torch.cuda.is_available() else "cpu"
        total_h = 0.0
        for spec in batch.specs:
            guess = estimate(spec, device=device, num_threads=max(1, int(cpus_per_trial)))
            if batch.pack == 1:  # the memory of a larger pack was checked by ``check_pack``
                _check_gpu_memory(guess, batch.gpus_per_trial)
            total_h += sum(guess.hours(spec).values())
            _print_study(spec, guess, device, console)
        concurrent = max_concurrent or local_concurrency(cpus_per_trial, batch.gpus_per_trial, batch.pack)
        all_s += total_h * 3600 / concurrent
        console.print(
            f"{concurrent} {'trial' if concurrent == 1 else 'trials'} at a time: about "
            f"[bold]{duration(total_h * 3600 / concurrent)}[/] on this machine; records go to {storage}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        if device == "cpu" and not batch.gpus_per_trial and not advised:  # once, as it takes seconds
            advised = True
            if advice := precision_advice(spec, guess):
                console.print(advice, highlight=False, soft_wrap=True)
        if device == "cpu" and SIZES[batch.specs[0].setting.size].hidden_size >= SIZES["medium"].hidden_size:
            console.print(
                "This machine trains on its CPU. A study of this size wants a GPU; smaller sizes and fewer epochs fit "
                "a laptop.",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
        if len(batches) > 1:
            console.print()
    if len(batches) > 1:
        num_studies = sum(len(batch.specs) for batch in batches)
        console.print(
            f"{num_studies} studies, {len(batches)} sizes and corpora one after another: about "
            f"[bold]{duration(all_s)}[/] on this machine",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def _print_study(spec: StudySpec, guess: Estimate, device: str, console: Console) -> None:
    setting, hours = spec.setting, guess.hours(spec)
    console.print(
        f"[bold]{VARIANTS[setting.variant].label}[/], {setting.size} ({SIZES[setting.size].hidden_size} units), "
        f"{CORPORA[setting.corpus].title}: {num_params(spec.paper):,} parameters, study {spec.name}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("block")
    for name in ("trials", "epochs", f"{device} hours"):
        table.add_column(name, justify="right")
    for block, trials in spec.num_trials.items():
        if trials:
            table.add_row(block, str(trials), f"{spec.expected_epochs[block]:,.0f}", _hours(hours[block]))
    table.add_row(
        "all", str(sum(spec.num_trials.values())), f"{sum(spec.expected_epochs.values()):,.0f}",
        _hours(sum(hours.values())), style="bold",
    )  # fmt: skip
    console.print(table)
    sessions = f" in {spec.num_sessions} sessions" if spec.num_sessions > 1 else ""
    rungs = f"; ASHA compares tpe trials at epoch {', '.join(map(str, spec.rungs)) or 'none'}" if spec.num_tpe else ""
    console.print(
        f"full length {spec.max_epochs} epochs{sessions}{rungs}; {duration(guess.epoch_s)} per epoch and "
        f"{duration(guess.final_s)} for the last evaluation of a confirm trial, measured here on {device} "
        f"({guess.window_s * 1e3:.1f} ms per window, {guess.peak_memory_bytes / 2**20:,.0f} MiB at most)\n",
        highlight=False,
        soft_wrap=True,
    )


def local_concurrency(cpus_per_trial: float, gpus_per_trial: float, pack: int | None = 1) -> int:
    """Trials that this machine holds at a time."""
    if pack is not None and pack > 1:
        return pack * max(1, torch.cuda.device_count())
    by_cpu = int((os.cpu_count() or 1) / cpus_per_trial) if cpus_per_trial > 0 else 10**6
    by_gpu = int(torch.cuda.device_count() / gpus_per_trial) if gpus_per_trial > 0 else 10**6
    return max(1, min(by_cpu, by_gpu))


def _check_gpu_memory(guess: Estimate, gpus_per_trial: float) -> None:
    # Ray does not enforce fractions of a GPU: this check alone keeps trials that share one within its memory.
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
