"""Time and memory of a piece of work on a device."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from trainables.trial.training import peak_memory_bytes

Work = Callable[[], None]
R = TypeVar("R")


def in_own_process(function: Callable[..., R], *arguments: object, **options: object) -> R:
    """What a function of a module returns or raises in a new process: the memory that it takes of a GPU goes with it.

    Raises:
        BrokenProcessPool: if the process is killed.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def seconds_of(work: Work, device: torch.device) -> float:
    """How long one run takes: CPU time of this process, on a GPU the time between two of its events.

    CPU time counts every thread's, so that other processes on a busy machine do not.
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
    """Seconds of each, the least over interleaved rounds, so that a busy machine slows all alike.

    Args:
        works: run in turn; they have been run before.
        device: where.
        rounds: at most; two at least.
        limit_s: no round but the second is begun after so many seconds.
    """
    best = [float("inf")] * len(works)
    start = time.perf_counter()
    for number in range(max(2, rounds)):
        for index, work in enumerate(works):
            best[index] = min(best[index], seconds_of(work, device))
        if number >= 1 and time.perf_counter() - start > limit_s:
            break
    return best


def gpu_peak_bytes(make: Callable[[], Work], device: torch.device) -> tuple[Work, int]:
    """Makes a piece of work and runs it once; the GPU memory that took, the allocator's gaps included."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    work = make()
    work()
    torch.cuda.synchronize(device)
    return work, torch.cuda.max_memory_reserved(device) - before


def cpu_peak_bytes(make: Callable[..., Work], *arguments: object, num_threads: int = 1) -> int:
    """The memory that making a piece of work and running it once takes, beside interpreter and libraries.

    In a process of its own, forked from one that has only imported what is needed.

    Args:
        make: a function of a module, which can be sent to a process.
        *arguments: of it; they can be sent too.
        num_threads: torch's.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        # torch.optim imports torch._dynamo when it is first used
        context.set_forkserver_preload([__name__, make.__module__, "torch._dynamo"])
    with context.Pool(1) as pool:
        return pool.apply(_cpu_peak_bytes, (make, arguments, num_threads))


def _cpu_peak_bytes(make: Callable[..., Work], arguments: tuple[object, ...], num_threads: int) -> int:
    torch.set_num_threads(num_threads)
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))  # the libraries' own buffers
    cpu = torch.device("cpu")
    _forget_peak()
    before = peak_memory_bytes(cpu)
    work = make(*arguments)
    work()
    return peak_memory_bytes(cpu) - before


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not on Linux: what the imports took at most counts as theirs
        return
