"""The rows of a cell of ``benchmark.py``: this project's training step and its rivals, timed side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.benchmark.measure import Work, cpu_peak_bytes, fastest, gpu_peak_bytes
from trainables.benchmark.rivals import (
    equal_precision,
    lstm_precision,
    make_bound,
    make_naive,
    make_pack,
    make_peer,
    make_step,
)
from trainables.benchmark.roofline import make_matmul, step_flops
from trainables.config import TrialConfig, paper_config
from trainables.data.batching import to_streams, windows, zipf_tokens

WINDOWS_PER_ROUND = {"cpu": 1, "cuda": 20}
FIELDS = ("cell", "path", "loss", "trials", "device", "precision", "drop_prob", "ms_per_window", "tokens_per_s",
          "times_peer", "times_naive", "gflop", "matmul_gflops", "of_roofline", "peak_memory_gb")  # fmt: skip
MAKERS: dict[str, Callable] = {"peer": make_peer, "step": make_step, "naive": make_naive, "bound": make_bound}


@dataclass(frozen=True)
class Entry:
    """One row of a cell: a path, its loss, and how many trials it trains at once."""

    path: str
    loss: str
    config: TrialConfig
    trials: int = 1


def make_config(variant: str, size: str, corpus: str, drop_prob: float | None) -> TrialConfig:
    """The paper's recipe, or the same at another drop probability."""
    config = paper_config(variant, size, corpus)
    return config if drop_prob is None else dataclasses.replace(config, drop_prob=drop_prob)


def entries(size: str, corpus: str, drop_prob: float | None, packs: Sequence[int]) -> list[Entry]:
    """Everything that is compared in a cell: the peer, the naive path, and the others, which are read against the two.

    A pack's step is the same whether the gradient flows or not.
    """
    augmented = make_config("real", size, corpus, drop_prob)
    stopped = dataclasses.replace(augmented, target_gradient="stop")
    plain = make_config("re", size, corpus, drop_prob)
    both = (("CE", plain), ("AL flow", augmented))
    return [
        Entry("peer", "CE", plain),
        Entry("naive", "AL flow", augmented),
        *(Entry("step", *each) for each in (*both, ("AL stop", stopped))),
        *(Entry("pack", *each, trials) for trials in packs for each in both),
        *(Entry("bound", *each) for each in both),
    ]


def round_tokens(config: TrialConfig, device: torch.device) -> Tensor:
    """(N,) random tokens, as many as a round trains on."""
    num_windows = WINDOWS_PER_ROUND[device.type]
    return zipf_tokens(config.vocab_size, config.batch_size * (config.bptt * num_windows + 1), seed=1)


def round_windows(config: TrialConfig, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The same as windows."""
    streams = to_streams(round_tokens(config, device), config.batch_size)
    return list(windows(streams, config.bptt, partial=False))


def make_work(entry: Entry, device: torch.device, precision: str) -> Work:
    """What an entry does in a round."""
    config = entry.config
    if entry.path == "pack":
        return make_pack(config, round_tokens(config, device), entry.trials, device=device, precision=precision)
    run, data = MAKERS[entry.path](config, device=device), round_windows(config, device)

    def work() -> None:
        for window in data:
            run(window)

    return work


def measure(
    size: str,
    corpus: str,
    *,
    rounds: int,
    limit_s: float,
    device: torch.device,
    precision: str,
    packs: Sequence[int],
    drop_prob: float | None = None,
) -> Iterator[dict[str, str]]:
    """One cell's rows, each as soon as it is known. An entry that does not fit into memory is told and left out.

    An entry is timed beside the peer and a large matrix product, in at least two rounds, then until ``rounds`` or its
    part of the time is up; of the entries only the peer stays in memory meanwhile.
    """
    peer, *others = entries(size, corpus, drop_prob, packs)
    limit_s /= 1 + len(others)
    data = round_windows(peer.config, device)
    number, num_tokens = len(data), sum(targets.numel() for _, targets in data)
    num_distinct = sum(targets.unique().numel() for _, targets in data) / number
    with equal_precision(precision, device):
        peer_work, peer_bytes = _warm_up(peer, device, precision)
        matmul, matmul_flops = make_matmul(device)
        matmul()

    def timed(entry: Entry) -> tuple[float, float, float, int]:
        """Seconds of the peer, the product and the entry; the entry's memory, which is free again."""
        with equal_precision(precision, device):
            if entry is peer:
                peer_s, matmul_s = fastest([peer_work, matmul], device, rounds=rounds, limit_s=limit_s)
                return peer_s, matmul_s, peer_s, peer_bytes
            work, num_bytes = _warm_up(entry, device, precision)
            peer_s, matmul_s, s = fastest([peer_work, matmul, work], device, rounds=rounds, limit_s=limit_s)
            return peer_s, matmul_s, s, num_bytes

    times_peer: dict[str, float] = {}
    for entry in (peer, *others):
        try:
            peer_s, matmul_s, s, num_bytes = timed(entry)
        except torch.OutOfMemoryError:
            print(
                f"{size}/{corpus}: {entry.path} of {entry.trials}, {entry.loss}: does not fit into memory", flush=True
            )
            continue
        times = times_peer[entry.path] = entry.trials * peer_s / s
        flops = step_flops(entry.config, num_distinct).total * entry.trials
        rate = matmul_flops / matmul_s
        lstm = lstm_precision(precision, device) if entry.path in ("peer", "bound") else precision
        values = (
            f"{size}/{corpus}", entry.path, entry.loss, f"{entry.trials}", device.type,
            precision if lstm == precision else f"{precision}/{lstm}",
            f"{entry.config.drop_prob:g}", f"{s / number * 1e3:.2f}", f"{entry.trials * num_tokens / s:.0f}",
            f"{times:.2f}",
            f"{times / times_peer['naive']:.2f}" if entry.loss != "CE" and "naive" in times_peer else "",
            f"{flops / 1e9:.1f}", f"{rate / 1e9:.0f}", f"{flops * number / s / rate:.2f}",
            f"{num_bytes / 1e9:.2f}",
        )  # fmt: skip
        yield dict(zip(FIELDS, values, strict=True))


def _warm_up(entry: Entry, device: torch.device, precision: str) -> tuple[Work, int]:
    if device.type == "cuda":
        return gpu_peak_bytes(lambda: make_work(entry, device, precision), device)
    num_bytes = cpu_peak_bytes(make_work, entry, device, precision, num_threads=torch.get_num_threads())
    work = make_work(entry, device, precision)
    work()
    return work, num_bytes
