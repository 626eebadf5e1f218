"""Time and memory of pieces of work on a device, run in turn."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

import torch

Work = Callable[[], object]


def seconds_of(work: Work, device: torch.device) -> float:
    """Seconds of one run: CPU time of all threads of this process, which other processes on a busy machine do not
    affect; on a GPU the time between two events.
    """
    if device.type != "cuda":
        before = time.process_time()
        work()
        return time.process_time() - before
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    work()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1e3


def fastest(works: Sequence[Work], device: torch.device, *, rounds: int, limit_s: float) -> list[float]:
    """Seconds of each work, the minimum over interleaved rounds, so that a busy machine slows all alike.

    Args:
        works: run in turn; they have been run before.
        device: where.
        rounds: at most; two at least.
        limit_s: seconds after which no round but the second starts.
    """
    best = [float("inf")] * len(works)
    start = time.perf_counter()
    for number in range(max(2, rounds)):
        for index, work in enumerate(works):
            best[index] = min(best[index], seconds_of(work, device))
        if number >= 1 and time.perf_counter() - start > limit_s:
            break
    return best


def warm_up(make: Callable[[], Work], device: torch.device) -> tuple[Work, int | None]:
    """Makes a piece of work, runs it once, and returns it with the GPU memory it took, allocator gaps included."""
    if device.type != "cuda":
        work = make()
        work()
        return work, None
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    work = make()
    work()
    torch.cuda.synchronize(device)
    return work, torch.cuda.max_memory_reserved(device) - before
