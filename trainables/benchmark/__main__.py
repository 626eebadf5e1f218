"""``python -m trainables.benchmark``: tokens per second of a full training step, against three others.

All run in this process, on one device and in one precision, each in rounds that it shares with the peer and a large
matrix product, so that a busy machine slows all alike; the figure is the minimum over the rounds, of CPU time or of the
time between two of the GPU's events. A row is printed and written as soon as it is measured.

* ``step``: this project's training step of one trial, kernel by kernel, for the plain cross-entropy (CE) and the
  augmented loss (AL), with the target distribution's gradient flowing or stopped.
* ``pack``: the same of several trials in one pack; tokens per second are those of all together. On a GPU, where its
  step is one CUDA graph, a pack of 1 is what a trial by itself runs.
* ``peer``: what the step is measured against: ``torch.nn.LSTM``, ordinary dropout, tied weights, plain cross-entropy,
  autograd, clipping, SGD. It has neither per-example masks in the recurrence nor an augmented loss. In bf16 on a GPU
  its products are autocast's, which gives cuDNN's LSTM fp16: told as ``bf16/fp16``.
* ``naive``: the same variational model as the step's, with the augmented loss, one time step after another on autograd.
* ``bound``: the step with its recurrence left to ``torch.nn.LSTM``, and so without its masks: what an equally fast
  recurrence would give.

``of_roofline`` is the part of the speed of that large product at which the step's own products (``roofline.py``) would
take as long as the step. With ``--study``, whole trials per hour (``throughput.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import subprocess
import sys
from pathlib import Path

import torch

from trainables.benchmark.comparison import FIELDS, measure
from trainables.benchmark.throughput import print_throughput
from trainables.config import paper_config
from trainables.data.batching import zipf_tokens
from trainables.fused.precision import PRECISIONS, check_precision, default_precision
from trainables.recipes import CORPORA, SIZES
from trainables.trial.training import Training, peak_memory_bytes

CELLS = ("small/ptb", "medium/ptb", "large/ptb", "small/wikitext2")
QUICK_CELLS = ("small/ptb", "medium/ptb")
PACKS = {"cpu": (1,), "cuda": (1, 4, 8, 16, 32)}
STUDY_PACKS = {"cpu": (), "cuda": (4, 16)}


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
    cuda = torch.cuda.is_available()
    add = parser.add_argument
    add("--cells", nargs="+", choices=names, metavar="SIZE/CORPUS", help=f"default: {' '.join(CELLS)}")
    add("--device", choices=["cpu", "cuda"], default="cuda" if cuda else "cpu", help="default: %(default)s")
    add("--precision", choices=PRECISIONS, help="of every path's matrix products (default: tf32 on a GPU, else fp32)")
    add("--pack", nargs="+", type=int, metavar="K", help="trials in a pack (default: 1 4 8 16 32 on a GPU, else 1)")
    add("--rounds", type=int, default=20, help="rounds at most (default: %(default)s)")
    add("--limit-s", type=float, default=120.0, help="seconds per cell (default: %(default)s)")
    add("--drop-prob", type=float, help="instead of the paper's")
    add("--threads", type=int, default=1, help="threads of every path (default: %(default)s)")
    add("--quick", action="store_true", help=f"{' '.join(QUICK_CELLS)}, under two minutes on a CPU")
    add("--csv", type=Path, help="also write the table to this file")
    add("--study", action="store_true", help="trials per hour: packed, in processes side by side, one after another")
    add("--memory-of", choices=names, metavar="SIZE/CORPUS", help="print one cell's peak memory in GB")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(_memory_of(*options.memory_of.split("/")))
        return 0
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, and torch sees none: use cpu")
    packs = options.pack or (STUDY_PACKS if options.study else PACKS)[device.type]
    if min(packs, default=1) < 1:
        parser.error(f"--pack must be whole numbers of at least 1, got {min(packs)}")
    try:
        precision = check_precision(options.precision or default_precision(device), device)
        if options.study:
            cells = options.cells or QUICK_CELLS[:1]
            for cell in cells:
                print_throughput(*cell.split("/"), device=device, precision=precision, packs=packs)
            return 0
        with contextlib.ExitStack() as stack:
            writer = None
            if options.csv:
                writer = csv.DictWriter(stack.enter_context(options.csv.open("w", newline="", buffering=1)), FIELDS)
                writer.writeheader()
            _print_row(dict(zip(FIELDS, FIELDS, strict=True)))
            for cell in options.cells or (QUICK_CELLS if options.quick else CELLS):
                size, corpus = cell.split("/")
                for row in measure(
                    size, corpus, rounds=options.rounds, limit_s=20.0 if options.quick else options.limit_s,
                    device=device, precision=precision, packs=packs, drop_prob=options.drop_prob,
                ):  # fmt: skip
                    _print_row(row)
                    if writer:
                        writer.writerow(row)
                if device.type == "cpu":
                    memory = measure_memory(size, corpus)
                    print(f"{cell}: peak memory of a trial with the augmented loss {memory:.2f} GB", flush=True)
    except ValueError as error:
        parser.error(str(error))
    return 0


def _print_row(row: dict[str, str]) -> None:
    widths = {name: max(len(name), 16 if name == "cell" else 7) for name in FIELDS}
    print("  ".join(f"{row[name]:>{widths[name]}}" for name in FIELDS), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
