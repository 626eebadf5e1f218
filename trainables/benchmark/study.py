"""``python -m trainables.benchmark --study``: whole trials per hour, for ways of sharing one device.

Trains a list of trials of equal length one after another, by processes side by side, and in packs of one process; each
epoch is followed by an evaluation. Runs without Ray, whose overhead ``python -m study.benchmark`` measures. The clock
starts when all processes have trained and evaluated a window.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainables.config import TrialConfig, paper_config
from trainables.data.batching import zipf_tokens
from trainables.pack.pack import Pack, begin_trial
from trainables.trial.epoch_result import NonFiniteLossError

NUM_TRIALS = {"cpu": 4, "cuda": 32}
WINDOWS_PER_EPOCH = {"cpu": 4, "cuda": 100}
NUM_EPOCHS = 2
START_S = 600.0
"""Seconds to wait for the processes to start."""


def train(trials: Sequence[TrialConfig], *, num_windows: int, num_epochs: int, device: str, precision: str) -> None:
    """Trains trials to their end: a single one outside a pack, several in a pack."""
    first = trials[0]
    tokens = zipf_tokens(first.vocab_size, first.batch_size * (first.bptt * num_windows + 1), seed=0)
    text: Tensor = tokens[: 2 * first.batch_size * first.bptt]
    if len(trials) == 1:
        trained = begin_trial(first, tokens, device=device, precision=precision)
        for _ in range(num_epochs):
            trained.train_epoch()
            trained.evaluate(text, eos_id=0)
        return
    pack = Pack(first, tokens, len(trials), device=device, precision=precision)
    for trial in trials:
        pack.admit(trial)
    for _ in range(num_epochs):
        for result in pack.train_epoch().values():
            if isinstance(result, NonFiniteLossError):  # its slot would be idle
                raise result
        pack.evaluate(text, eos_id=0)


def _start(warm_up: Any, ready: Any) -> None:
    torch.set_num_threads(1)
    warm_up()
    ready.wait(START_S)


def trials_per_hour(
    trials: Sequence[TrialConfig], *, num_processes: int, num_slots: int, device: str, precision: str, num_windows: int
) -> float:
    """Trains the list in processes, each of which takes the next trial, or the next pack of ``num_slots``, when it is
    free.

    Raises:
        BrokenProcessPool, BrokenBarrierError: if a process failed to start.
    """
    run = partial(train, num_epochs=NUM_EPOCHS, num_windows=num_windows, device=device, precision=precision)
    packs = [trials[i : i + num_slots] for i in range(0, len(trials), num_slots)]
    context = multiprocessing.get_context("spawn")  # no state is inherited
    ready = context.Barrier(num_processes + 1)
    warm_up = partial(run, packs[0], num_windows=1, num_epochs=1)
    with ProcessPoolExecutor(num_processes, context, initializer=_start, initargs=(warm_up, ready)) as pool:
        jobs = [pool.submit(run, pack) for pack in packs]
        ready.wait(START_S)
        started = time.perf_counter()
        for job in jobs:
            job.result()
        return 3600.0 * len(trials) / (time.perf_counter() - started)


def print_study(
    size: str, corpus: str, *, device: torch.device, precision: str, packs: Sequence[int]
) -> list[tuple[str, float]]:
    """Measures and prints a table: a line per way, with its ratio to one trial after another.

    Args:
        size: of the trials.
        corpus: gives their vocabulary; the tokens are random.
        device: shared by all.
        precision: of the matrix products.
        packs: slots of a pack; on a GPU also the numbers of processes side by side. On a CPU there is one per core.

    Returns:
        (way, trials per hour) of each line.
    """
    paper, num_trials = paper_config("real", size, corpus), NUM_TRIALS[device.type]
    trials = [dataclasses.replace(paper, seed=seed) for seed in range(num_trials)]
    beside = sorted({_usable_cores()} if device.type == "cpu" else set(packs) - {1})
    ways = [("sequential", 1, 1), *((f"{n} processes", n, 1) for n in beside), *((f"pack of {k}", 1, k) for k in packs)]
    print(f"{size}/{corpus}, {device.type}, {precision}: {num_trials} trials of {NUM_EPOCHS} epochs")
    print(f"{'':>14}  {'trials/hour':>12}  {'times sequential':>16}")
    found: list[tuple[str, float]] = []
    for name, num_processes, num_slots in ways:
        rate = trials_per_hour(
            trials, num_processes=num_processes, num_slots=num_slots, device=device.type, precision=precision,
            num_windows=WINDOWS_PER_EPOCH[device.type],
        )  # fmt: skip
        found.append((name, rate))
        print(f"{name:>14}  {rate:>12.0f}  {rate / found[0][1]:>16.2f}", flush=True)
    return found


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
