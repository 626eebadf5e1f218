"""``python -m trainables.benchmark --study``: whole trials per hour, in three ways of sharing one device.

The same fixed list of trials is trained one after another, by processes side by side, and in packs of one process.
There is no Ray: what it adds is measured by ``python -m study.benchmark``. Trials differ in their length, as those of
a search with early stopping do, so that slots and processes fall free at different times; each epoch is followed by
an evaluation. The start of the processes is left out: the clock starts when all have trained a window.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from threading import BrokenBarrierError
from typing import Any

import torch
from torch import Tensor

from trainables.config import TrialConfig, paper_config
from trainables.data.batching import zipf_tokens
from trainables.pack.pack import Pack, begin_trial
from trainables.trial.epoch_result import NonFiniteLossError

NUM_TRIALS = {"cpu": 8, "cuda": 32}
WINDOWS_PER_EPOCH = {"cpu": 4, "cuda": 100}
LENGTHS = (4, 1, 2, 1)
"""Epochs of a trial, in turn."""
DROP_PROBS = (0.2, 0.4, 0.6)
EVALUATION_TOKENS = 1400
START_S = 600.0
"""Seconds after which a process that has not started is given up."""


def study_trials(size: str, corpus: str, num_trials: int) -> list[TrialConfig]:
    """The list: one shape, the paper's recipe but for seed, drop probability and length."""
    paper = paper_config("real", size, corpus)
    return [
        dataclasses.replace(
            paper, seed=i, drop_prob=DROP_PROBS[i % len(DROP_PROBS)], max_epochs=LENGTHS[i % len(LENGTHS)]
        )
        for i in range(num_trials)
    ]


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker process is told."""

    trials: list[TrialConfig]
    num_windows: int
    device: str
    precision: str
    slots: int
    """Of its pack; 0 for one trial after another."""

    def tokens(self, num_windows: int) -> Tensor:
        """(N,) random tokens that fill so many windows."""
        c = self.trials[0]
        return zipf_tokens(c.vocab_size, c.batch_size * (c.bptt * num_windows + 1), seed=0)


def trials_per_hour(job: Job, num_processes: int) -> float:
    """Trains the list in so many processes, which take the next trial whenever they are free.

    Raises:
        RuntimeError: if a process failed or did not start.
    """
    context = multiprocessing.get_context("spawn")  # no state comes along
    following, ready = context.Value("i", 0), context.Barrier(num_processes + 1)
    workers = [context.Process(target=_work, args=(job, following, ready), daemon=True) for _ in range(num_processes)]
    for worker in workers:
        worker.start()
    try:
        ready.wait(START_S)
        started = time.perf_counter()
        for worker in workers:
            worker.join()
    except BrokenBarrierError:
        for worker in workers:  # the one that failed still has its error to print
            worker.join(10)
            worker.terminate()
        raise RuntimeError("a process of the benchmark did not start") from None
    seconds = time.perf_counter() - started
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"a process of the benchmark failed: exit codes {[w.exitcode for w in workers]}")
    return 3600.0 * len(job.trials) / seconds


def _work(job: Job, following: Any, ready: Any) -> None:
    torch.set_num_threads(1)

    def claim() -> Iterator[TrialConfig]:
        while True:
            with following.get_lock():
                index, following.value = following.value, following.value + 1
            if index >= len(job.trials):
                return
            yield job.trials[index]

    text = job.tokens(2)[:EVALUATION_TOKENS]
    try:
        run = _Packed(job, text) if job.slots else _Alone(job, text)
    except BaseException:
        ready.abort()
        raise
    ready.wait(START_S)
    run(claim())


class _Alone:
    """One trial after another, each for itself."""

    def __init__(self, job: Job, text: Tensor) -> None:
        self.job, self.text, self.tokens = job, text, job.tokens(job.num_windows)
        self._train(dataclasses.replace(job.trials[0], max_epochs=1), job.tokens(1))

    def __call__(self, trials: Iterator[TrialConfig]) -> None:
        for config in trials:
            self._train(config, self.tokens)

    def _train(self, config: TrialConfig, tokens: Tensor) -> None:
        training = begin_trial(config, tokens, device=self.job.device, precision=self.job.precision)
        for _ in range(config.max_epochs):
            training.train_epoch()
            training.evaluate(self.text, eos_id=0)


class _Packed:
    """Slots of one pack; a free one takes the next trial."""

    def __init__(self, job: Job, text: Tensor) -> None:
        self.text = text
        template = job.trials[0]
        self.pack = Pack(template, job.tokens(job.num_windows), job.slots, device=job.device, precision=job.precision)
        slot = self.pack.admit(template)
        if self.pack.device.type == "cuda":  # the graph and the evaluation's kernels
            self.pack.train_epoch()
        self.pack.evaluate(text, eos_id=0)
        self.pack.release(slot)

    def __call__(self, trials: Iterator[TrialConfig]) -> None:
        remaining: dict[int, int] = {}
        while True:
            while len(remaining) < self.pack.num_slots and (config := next(trials, None)) is not None:
                remaining[self.pack.admit(config)] = config.max_epochs
            if not remaining:
                return
            for result in self.pack.train_epoch().values():
                if isinstance(result, NonFiniteLossError):
                    raise result
            self.pack.evaluate(self.text, eos_id=0)
            remaining = {slot: epochs - 1 for slot, epochs in remaining.items()}
            for slot in [slot for slot, epochs in remaining.items() if epochs == 0]:
                self.pack.release(slot)
                del remaining[slot]


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def print_throughput(
    size: str,
    corpus: str,
    *,
    device: torch.device,
    precision: str,
    packs: Sequence[int],
    num_trials: int | None = None,
    num_windows: int | None = None,
) -> list[tuple[str, float]]:
    """Measures and prints a table: a line per way, with its ratio to one trial after another.

    Args:
        size: of the trials.
        corpus: gives their vocabulary; the tokens are random.
        device: shared by all.
        precision: of the matrix products.
        packs: slots of a pack; on a GPU also the numbers of processes side by side, which on a CPU is that of cores.
        num_trials: of the list; None for the device's.
        num_windows: of an epoch; None for the device's.

    Returns:
        (way, trials per hour) of each line.
    """
    trials = study_trials(size, corpus, num_trials or NUM_TRIALS[device.type])
    job = Job(trials, num_windows or WINDOWS_PER_EPOCH[device.type], device.type, precision, slots=0)
    beside = sorted({usable_cores()} if device.type == "cpu" else set(packs) - {1})
    ways = [("sequential", 0, 1), *((f"{n} processes", 0, n) for n in beside), *((f"pack of {k}", k, 1) for k in packs)]
    epochs = sum(config.max_epochs for config in trials)
    what = f"{len(trials)} trials, {epochs} epochs of {job.num_windows} windows"
    print(f"{size}/{corpus}, {device.type}, {precision}: {what}")
    print(f"{'':>14}  {'trials/hour':>12}  {'times sequential':>16}")
    found: list[tuple[str, float]] = []
    for name, slots, processes in ways:
        rate = trials_per_hour(dataclasses.replace(job, slots=slots), processes)
        found.append((name, rate))
        print(f"{name:>14}  {rate:>12.0f}  {rate / found[0][1]:>16.2f}", flush=True)
    return found
