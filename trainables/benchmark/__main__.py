"""``python -m trainables.benchmark``: tokens per second of a full training step, against PyTorch's own LSTM.

All run in this process, on one device and in one precision. Each is timed in turn with the peer, so that a busy machine
slows both alike; the figure is the minimum over the rounds, of CPU time or of the time between two GPU events. A row is
printed and written as soon as it is measured.

* ``peer``: ``torch.nn.LSTM``, ordinary dropout, tied weights, plain cross-entropy, autograd, clipping, SGD. It has
  neither per-example masks in the recurrence nor an augmented loss. In bf16 on a GPU its products are autocast's,
  which gives cuDNN's LSTM fp16: shown as ``bf16/fp16``.
* ``step``: this project's training step of one trial, for the plain cross-entropy (CE) and the augmented loss (AL),
  with gradient through the target distribution flowing or stopped.
* ``pack``: the same step for several trials in one pack; tokens per second are those of all trials together. On a GPU,
  where its step is one CUDA graph, a single trial runs as a pack of 1.

With ``--study``, it measures whole trials per hour.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
from pathlib import Path

import torch

from trainables.benchmark.comparison import FIELDS, measure
from trainables.benchmark.study import print_study
from trainables.fused.precision import PRECISIONS, check_precision, default_precision
from trainables.recipes import CORPORA, SIZES

SETTINGS = ("small/ptb", "medium/ptb", "large/ptb", "small/wikitext2")
PACKS = {"cpu": (1,), "cuda": (1, 4, 8, 16, 32)}
STUDY_PACKS = {"cpu": (), "cuda": (4, 16)}


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``python -m trainables.benchmark``."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables.benchmark", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    names = [f"{size}/{corpus}" for size in SIZES for corpus in CORPORA]
    cuda = torch.cuda.is_available()
    add = parser.add_argument
    add("--settings", nargs="+", choices=names, metavar="SIZE/CORPUS", help=f"default: {' '.join(SETTINGS)}")
    add("--device", choices=["cpu", "cuda"], default="cuda" if cuda else "cpu", help="default: %(default)s")
    add("--precision", choices=PRECISIONS, help="of every path's matrix products (default: tf32 on a GPU, else fp32)")
    add("--pack", nargs="+", type=int, metavar="K", help="trials in a pack (default: 1 4 8 16 32 on a GPU, else 1)")
    add("--rounds", type=int, default=20, help="rounds at most (default: %(default)s)")
    add("--limit-s", type=float, default=120.0, help="seconds per setting (default: %(default)s)")
    add("--drop-prob", type=float, help="instead of the paper's")
    add("--threads", type=int, default=1, help="threads of every path (default: %(default)s)")
    add("--csv", type=Path, help="also write the table to this file")
    add("--study", action="store_true", help="trials per hour: packed, in processes side by side, one after another")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, and torch sees none: use cpu")
    packs = options.pack or (STUDY_PACKS if options.study else PACKS)[device.type]
    if min(packs, default=1) < 1:
        parser.error(f"--pack must be whole numbers of at least 1, got {min(packs)}")
    try:
        precision = check_precision(options.precision or default_precision(device), device)
        if options.study:
            for setting in options.settings or SETTINGS[:1]:
                print_study(*setting.split("/"), device=device, precision=precision, packs=packs)
            return 0
        with contextlib.ExitStack() as stack:
            writer = None
            if options.csv:
                writer = csv.DictWriter(stack.enter_context(options.csv.open("w", newline="", buffering=1)), FIELDS)
                writer.writeheader()
            _print_row(dict(zip(FIELDS, FIELDS, strict=True)))
            for setting in options.settings or SETTINGS:
                for row in measure(
                    *setting.split("/"), rounds=options.rounds, limit_s=options.limit_s, device=device,
                    precision=precision, packs=packs, drop_prob=options.drop_prob,
                ):  # fmt: skip
                    _print_row(row)
                    if writer:
                        writer.writerow(row)
    except ValueError as error:
        parser.error(str(error))
    return 0


def _print_row(row: dict[str, str]) -> None:
    widths = {name: max(len(name), 16 if name == "setting" else 7) for name in FIELDS}
    print("  ".join(f"{row[name]:>{widths[name]}}" for name in FIELDS), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
