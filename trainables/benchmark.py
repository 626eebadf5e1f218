"""``python -m trainables.benchmark``: tokens per second of a full training step, against three others.

All run in this process, in interleaved rounds, so that a busy machine slows all alike; the figure is the minimum of
CPU time over the rounds.

* ``step``: this project's training step, for the plain cross-entropy (CE) and the augmented loss (AL), with the target
  distribution's gradient flowing or stopped.
* ``peer``: what the step is measured against: ``torch.nn.LSTM``, ordinary dropout, tied weights, plain cross-entropy,
  autograd, clipping, SGD. It has neither per-example masks in the recurrence nor an augmented loss.
* ``naive``: the same variational model as the step's, with the augmented loss, one time step after another on autograd.
* ``bound``: the step with its recurrence left to ``torch.nn.LSTM``, and so without its masks: what an equally fast
  recurrence would give.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from trainables.batching import windows, zipf_tokens
from trainables.config import TrialConfig, paper_config
from trainables.recipes import CORPORA, SIZES
from trainables.rivals import Run, make_bound, make_naive, make_peer, make_step
from trainables.training import Training, peak_memory_bytes

CELLS = ("small/ptb", "medium/ptb", "large/ptb", "small/wikitext2")
QUICK_CELLS = ("small/ptb", "medium/ptb")
FIELDS = ("cell", "path", "loss", "drop_prob", "ms_per_window", "tokens_per_s", "times_peer", "times_naive")


def make_config(variant: str, size: str, corpus: str, drop_prob: float | None) -> TrialConfig:
    """The paper's recipe, or the same at another drop probability."""
    config = paper_config(variant, size, corpus)
    return config if drop_prob is None else dataclasses.replace(config, drop_prob=drop_prob)


def paths(size: str, corpus: str, drop_prob: float | None) -> Iterator[tuple[str, str, Run]]:
    """(path, loss, step) of everything that is compared in a cell."""
    augmented = make_config("real", size, corpus, drop_prob)
    stopped = dataclasses.replace(augmented, target_gradient="stop")
    plain = make_config("re", size, corpus, drop_prob)
    yield "peer", "CE", make_peer(plain)
    yield "step", "CE", make_step(plain)
    yield "step", "AL flow", make_step(augmented)
    yield "step", "AL stop", make_step(stopped)
    yield "naive", "AL flow", make_naive(augmented)
    yield "bound", "CE", make_bound(plain)
    yield "bound", "AL flow", make_bound(augmented)


def measure(
    size: str, corpus: str, *, rounds: int, limit_s: float, drop_prob: float | None = None
) -> list[dict[str, str]]:
    """One cell's rows: at least two rounds, then until ``rounds`` or the time is up."""
    config = make_config("re", size, corpus, drop_prob)
    tokens_per_window = config.batch_size * config.bptt
    tokens = zipf_tokens(config.vocab_size, config.batch_size * (config.bptt * 4 + 1), seed=1)
    data = list(windows(tokens.view(-1, config.batch_size), config.bptt, partial=False))
    runs = list(paths(size, corpus, drop_prob))
    best = [float("inf")] * len(runs)
    start = time.perf_counter()
    for _, _, run in runs:  # warm up
        run(data[0])
    for number in range(rounds):
        for index, (_, _, run) in enumerate(runs):
            before = time.process_time()
            run(data[number % len(data)])
            best[index] = min(best[index], time.process_time() - before)
        if number >= 1 and time.perf_counter() - start > limit_s:
            break
    seconds = dict(zip([r[:2] for r in runs], best, strict=True))
    peer, naive = seconds["peer", "CE"], seconds["naive", "AL flow"]
    return [
        {
            "cell": f"{size}/{corpus}",
            "path": path,
            "loss": loss,
            "drop_prob": f"{config.drop_prob:g}",
            "ms_per_window": f"{s * 1e3:.1f}",
            "tokens_per_s": f"{tokens_per_window / s:.0f}",
            "times_peer": f"{peer / s:.2f}",
            "times_naive": f"{naive / s:.2f}" if loss != "CE" else "",
        }
        for (path, loss), s in seconds.items()
    ]


def measure_memory(size: str, corpus: str) -> float:
    """Peak memory of a trial's training and evaluation, in GB, beside interpreter and libraries; in a fresh process."""
    command = [sys.executable, "-m", "trainables.benchmark", "--memory-of", f"{size}/{corpus}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _memory_of(size: str, corpus: str) -> float:
    cpu, config = torch.device("cpu"), paper_config("real", size, corpus)
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))  # the libraries' own buffers
    before = peak_memory_bytes(cpu)
    tokens = zipf_tokens(config.vocab_size, CORPORA[corpus].num_tokens["train"], seed=0)
    training = Training(config, tokens[: config.batch_size * (3 * config.bptt + 1)])
    training.train_epoch()
    training.evaluate(tokens[:5000], eos_id=0)
    return (peak_memory_bytes(cpu) - before) / 1e9


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``python -m trainables.benchmark``."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables.benchmark", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    names = [f"{size}/{corpus}" for size in SIZES for corpus in CORPORA]
    parser.add_argument("--cells", nargs="+", choices=names, metavar="SIZE/CORPUS", help=f"default: {' '.join(CELLS)}")
    parser.add_argument("--rounds", type=int, default=20, help="rounds at most (default: %(default)s)")
    parser.add_argument("--limit-s", type=float, default=120.0, help="seconds per cell (default: %(default)s)")
    parser.add_argument("--drop-prob", type=float, help="instead of the paper's")
    parser.add_argument("--threads", type=int, default=1, help="threads of every path (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{' '.join(QUICK_CELLS)}, under two minutes")
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    parser.add_argument("--memory-of", choices=names, metavar="SIZE/CORPUS", help="print one cell's peak memory in GB")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(_memory_of(*options.memory_of.split("/")))
        return 0
    rows: list[dict[str, str]] = []
    for cell in options.cells or (QUICK_CELLS if options.quick else CELLS):
        size, corpus = cell.split("/")
        limit_s = 40.0 if options.quick else options.limit_s
        try:
            found = measure(size, corpus, rounds=options.rounds, limit_s=limit_s, drop_prob=options.drop_prob)
        except ValueError as error:
            parser.error(str(error))
        if not rows:
            print("  ".join(f"{name:>14}" for name in FIELDS))
        for row in found:
            print("  ".join(f"{row[name]:>14}" for name in FIELDS), flush=True)
        rows += found
        memory = measure_memory(size, corpus)
        print(f"{cell}: peak memory of a trial with the augmented loss {memory:.2f} GB", flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
