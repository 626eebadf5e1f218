"""Times this project's training in turn with the peer's: the rows of a setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from trainables.benchmark.measure import Work, fastest, warm_up
from trainables.benchmark.paths import lstm_precision, make_pack, make_peer, make_step
from trainables.config import TrialConfig, paper_config
from trainables.data.batching import zipf_tokens

WINDOWS_PER_ROUND = {"cpu": 1, "cuda": 20}
FIELDS = (
    "setting", "path", "loss", "trials", "device", "precision", "drop_prob", "ms_per_window", "tokens_per_s",
    "times_peer", "peak_memory_gb",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of a setting: a path, its loss, and how many trials it trains at once."""

    path: str
    loss: str
    config: TrialConfig
    num_trials: int = 1


def entries(size: str, corpus: str, drop_prob: float | None, packs: Sequence[int]) -> list[Entry]:
    """The peer and the paths compared with it; a pack's step is the same whether the gradient flows or not."""

    def config(variant: str) -> TrialConfig:
        paper = paper_config(variant, size, corpus)
        return paper if drop_prob is None else dataclasses.replace(paper, drop_prob=drop_prob)

    stopped = dataclasses.replace(config("real"), target_gradient="stop")
    both = (("CE", config("re")), ("AL flow", config("real")))
    return [
        Entry("peer", *both[0]),
        *(Entry("step", *each) for each in (*both, ("AL stop", stopped))),
        *(Entry("pack", *each, trials) for trials in packs for each in both),
    ]


def make_work(entry: Entry, device: torch.device, precision: str) -> Work:
    """Makes the work of an entry's round, on random tokens."""
    c = entry.config
    tokens = zipf_tokens(c.vocab_size, c.batch_size * (c.bptt * WINDOWS_PER_ROUND[device.type] + 1), seed=1)
    if entry.path == "pack":
        return make_pack(c, tokens, entry.num_trials, device=device, precision=precision)
    make = {"peer": make_peer, "step": make_step}[entry.path]
    return make(c, tokens, device=device, precision=precision)


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
    """Yields one setting's rows, each as soon as it is measured. Reports and leaves out an entry that does not fit into
    memory.

    An entry is timed in turn with the peer for at least two rounds, then until ``rounds`` or its share of the time is
    used. Only the entry and the peer are in memory at a time.
    """
    every = entries(size, corpus, drop_prob, packs)
    number = WINDOWS_PER_ROUND[device.type]
    peer, peer_bytes = warm_up(partial(make_work, every[0], device, precision), device)
    for entry in every:
        work, num_bytes = peer, peer_bytes
        try:
            if entry.path != "peer":
                work, num_bytes = warm_up(partial(make_work, entry, device, precision), device)
            peer_s, s = fastest([peer, work], device, rounds=rounds, limit_s=limit_s / len(every))
        except torch.OutOfMemoryError:
            what = f"{size}/{corpus}: {entry.path} of {entry.num_trials}, {entry.loss}"
            print(f"{what}: does not fit into memory", flush=True)
            continue
        finally:
            del work
        if entry.path == "peer":
            s = peer_s
        num_tokens = entry.num_trials * number * entry.config.batch_size * entry.config.bptt
        lstm = lstm_precision(precision, device) if entry.path == "peer" else precision
        values = (
            f"{size}/{corpus}", entry.path, entry.loss, f"{entry.num_trials}", device.type,
            precision if lstm == precision else f"{precision}/{lstm}",
            f"{entry.config.drop_prob:g}", f"{s / number * 1e3:.2f}", f"{num_tokens / s:.0f}",
            f"{entry.num_trials * peer_s / s:.2f}", "" if num_bytes is None else f"{num_bytes / 1e9:.2f}",
        )  # fmt: skip
        yield dict(zip(FIELDS, values, strict=True))
