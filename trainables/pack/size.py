"""Measures how many slots fit into a GPU's memory, from the memory that two and three take."""

from __future__ import annotations

import gc

import torch

from trainables.config import TrialConfig
from trainables.data.batching import zipf_tokens
from trainables.pack.pack import Pack

MEMORY_SHARE = 0.9
"""Share of the free memory for slots: the rest is for the allocator's gaps and for windows with more distinct words."""


def slots_that_fit(two: int, three: int, available: int) -> int:
    """Slots that fit into the available bytes, given the bytes of two and of three slots."""
    each = max(1, three - two)
    return max(0, (available - (two - 2 * each)) // each)


def measure_num_slots(template: TrialConfig, *, device: str | torch.device, precision: str | None = None) -> int:
    """The most slots that fit into the free memory of a GPU; runs a few steps on random tokens.

    Args:
        template: a trial of the pack's shape.
        device: a GPU.
        precision: of the pack.

    Raises:
        ValueError: if the device is not a GPU.
    """
    device = torch.device(device)
    if device.type != "cuda":
        raise ValueError(f"the device must be a CUDA device to measure how many slots it holds, got {device}")
    peaks = []
    for num_slots in (1, 2, 3):
        try:
            peaks.append(_peak_bytes(template, num_slots, device, precision))
        except torch.OutOfMemoryError:
            return num_slots - 1
    _, two, three = peaks  # the first includes the libraries' workspaces, which are allocated once
    gc.collect()
    torch.cuda.empty_cache()
    return slots_that_fit(two, three, int(MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]))


def _peak_bytes(template: TrialConfig, num_slots: int, device: torch.device, precision: str | None) -> int:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    tokens = zipf_tokens(template.vocab_size, template.batch_size * (2 * template.bptt + 1), seed=0)
    pack = Pack(template, tokens, num_slots, device=device, precision=precision)
    for _ in range(num_slots):
        pack.admit(template)
    pack.train_epoch()
    pack.evaluate(tokens, eos_id=0)
    return torch.cuda.max_memory_reserved(device) - before
