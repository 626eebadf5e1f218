"""Checks ``--pack`` and measures how many trials a GPU can train in one stack."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import torch
from rich.console import Console

from study.spec.spec import StudySpec
from trainables.data.batching import zipf_tokens
from trainables.fused import supports
from trainables.pack.pack import Pack
from trainables.pack.probe import in_own_process
from trainables.pack.size import measure_num_slots
from trainables.recipes import VARIANTS

FORCE = "STUDY_FORCE_PACK"
"""Set to 1, a pack is allowed on a CPU: for tests, which have no GPU."""
_CANDIDATES = (1, 2, 4, 8, 16, 32, 64)
_MIN_GAIN = 1.1  # twice the slots must bring a tenth more tokens per second
_PROBE_WINDOWS = 4


def check_pack(specs: Sequence[StudySpec], pack: int | None, *, device: str, console: Console) -> int | None:
    """The number of slots on each device, measured before anything is launched if there is a GPU here.

    Args:
        specs: the studies of the run; each variant has its own stack.
        pack: what was asked for; None for auto.
        device: ``cuda`` or ``cpu``.
        console: prints the number that auto has picked.

    Returns:
        The number; None for auto without a GPU here: ``measure_pack`` then runs on one of the cluster's.

    Raises:
        ValueError: if there are not enough slots for the variants, a variant's model is not the fused step's, the
            device is a CPU, or its memory does not hold them.
    """
    alone = ", ".join(VARIANTS[spec.setting.variant].label for spec in specs if not supports(spec.paper))
    if alone and pack is None:
        console.print(f"--pack auto: 1, a pack's step does not support {alone}", markup=False)
        return 1
    if alone and pack != 1:
        raise ValueError(f"--pack must be 1 with {alone}, got {pack}: a pack's step does not support this model")
    if device == "cpu":
        if pack is None:
            console.print("--pack auto: 1, on a CPU a process for each trial is faster")
            return 1
        if pack > 1 and os.environ.get(FORCE) != "1":
            raise ValueError(
                f"--pack above 1 needs a GPU, got {pack}: on a CPU the products of several trials are no faster "
                "together, and a one-thread process for each trial, one per core, is the default"
            )
    if pack is not None and 1 < pack < len(specs):
        raise ValueError(f"--pack must be at least the number of variants, {len(specs)}, or 1, got {pack}")
    if device == "cpu" or pack == 1 or not torch.cuda.is_available():
        return pack
    slots, summary = in_own_process(measure_pack, specs, pack)
    console.print(summary)
    return slots


def measure_pack(specs: Sequence[StudySpec], pack: int | None) -> tuple[int, str]:
    """The number of slots for this machine's GPU, and a line to print about it.

    Args:
        specs: as in ``check_pack``.
        pack: what was asked for, above 1; None for auto: the fewest slots beyond which more bring little.

    Raises:
        ValueError: if the GPU's memory does not hold them.
    """
    fits = min(measure_num_slots(spec.paper, device="cuda", precision=spec.precision) for spec in specs)
    if pack is None:
        picked = _fastest(specs[0], fits // len(specs)) * len(specs)
        return picked, f"--pack auto: {picked} slots (memory holds {fits})"
    if pack > fits:
        raise ValueError(f"--pack {pack} does not fit: this GPU's free memory holds {fits} slots of this shape")
    return pack, f"--pack {pack}: memory holds {fits} slots"


def _fastest(spec: StudySpec, most: int) -> int:
    """The fewest slots beyond which more bring little."""
    best, rate = 1, 0.0
    for num_slots in _CANDIDATES:
        if num_slots > max(1, most):
            break
        found = _tokens_per_s(spec, num_slots)
        if found < _MIN_GAIN * rate:
            break
        best, rate = num_slots, found
    return best


def _tokens_per_s(spec: StudySpec, num_slots: int) -> float:
    paper = spec.paper
    tokens = zipf_tokens(paper.vocab_size, paper.batch_size * (_PROBE_WINDOWS * paper.bptt + 1), seed=0)
    pack = Pack(paper, tokens, num_slots, device="cuda", precision=spec.precision)
    for _ in range(num_slots):
        pack.admit(paper)
    pack.train_epoch()
    started = time.perf_counter()
    pack.train_epoch()
    torch.cuda.synchronize()
    return num_slots * _PROBE_WINDOWS * paper.batch_size * paper.bptt / (time.perf_counter() - started)
