"""Measures how long a trial's steps take on this machine, on random tokens, before a study starts."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, TypeVar

import torch

from trainables.config import TrialConfig
from trainables.data.batching import zipf_tokens
from trainables.pack.pack import begin_trial

R = TypeVar("R")
_SINGLE_STREAM_TOKENS = 70  # enough to outweigh the fixed cost; a second for the largest model


class Probe(NamedTuple):
    """Result of ``probe_step_seconds``."""

    window_s: float
    """Seconds per window of training."""
    evaluation_token_s: float
    """Seconds per token of an evaluation in ``batch_size`` streams, as after every epoch."""
    single_stream_token_s: float
    """Seconds per token of an evaluation in one stream, as at the end of a confirmation trial."""
    peak_memory_bytes: int


def probe_step_seconds(
    config: TrialConfig,
    *,
    device: str | torch.device,
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
    limit_s: float,
) -> Probe:
    """Times a few windows of training and of evaluation on random tokens of the vocabulary; needs no corpus.

    Takes the fastest of each, without the first if there are others.

    Args:
        config: the trial.
        device: where.
        dtype: of weights and arithmetic.
        precision: of the matrix products; None for the device's default.
        limit_s: seconds after which no further run starts; each is measured at least once.

    Raises:
        ValueError: if limit_s is not positive, or the device does not have the precision.
    """
    if not limit_s > 0:
        raise ValueError(f"limit_s must be above 0, got {limit_s!r}")
    start = time.perf_counter()
    window = config.batch_size * config.bptt
    tokens = zipf_tokens(config.vocab_size, window + config.batch_size, seed=config.seed)
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # forget an earlier probe's peak
    training = begin_trial(config, tokens, device=device, dtype=dtype, precision=precision)

    def fastest(work: Callable[[], object], *, repeats: int) -> float:
        seconds: list[float] = []
        while not seconds or (len(seconds) < repeats and time.perf_counter() - start < limit_s):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
        return min(seconds[1:] or seconds)

    single = tokens[:_SINGLE_STREAM_TOKENS]
    return Probe(
        window_s=fastest(training.train_epoch, repeats=8),
        evaluation_token_s=fastest(
            lambda: training.evaluate(tokens[:window], eos_id=0, batch_size=config.batch_size), repeats=3
        )
        / window,
        single_stream_token_s=fastest(lambda: training.evaluate(single, eos_id=0, batch_size=1), repeats=3)
        / len(single),
        peak_memory_bytes=training.peak_memory_bytes(),
    )


def in_own_process(function: Callable[..., R], *arguments: object, **options: object) -> R:
    """Calls a module's function in a new process, which frees its GPU memory when it ends; returns or raises its
    result.

    Raises:
        BrokenProcessPool: if the process is killed.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()
