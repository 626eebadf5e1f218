"""How long the report takes on a large results folder: made-up records of Table 1's 24 settings, over 100,000 epochs.

python -m tests.support.many FOLDER writes them to FOLDER/results (unless they are there), makes the report in
FOLDER/report in a process of its own, and prints how long that took.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis import paper
from analysis.tables.table1_2 import TABLE_1_SETTINGS
from study.records.records import Setting
from tests.support.synthetic import curve, write_run, write_trial

NUM_RANDOM, NUM_TPE, NUM_SEEDS, NUM_EPOCHS = 36, 46, 6, 50


def trials(setting: Setting, rng: random.Random) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Yields (trial id, final perplexity, other columns) of one study; what is searched is drawn at random."""
    target = paper.perplexity(*setting, "valid_ppl")
    level = target.value if target else 80.0
    yield "default-0000", level, {}
    for i in range(1, 1 + NUM_RANDOM + NUM_TPE):
        columns: dict[str, Any] = {
            "drop_prob": rng.uniform(0.1, 0.8), "lr": 10 ** rng.uniform(-0.5, 0.5), "lr_decay": rng.uniform(0.7, 0.98),
            "gamma": 10 ** rng.uniform(-1.0, 0.5), "tau": 10 ** rng.uniform(0.0, 2.0), "seed": i,
        }  # fmt: skip
        columns["alpha"] = columns["gamma"] * columns["tau"]
        block = "random" if i <= NUM_RANDOM else "tpe"
        if block == "tpe":
            columns["audit"] = i % 7 == 0
            if i % 3 == 0 and not columns["audit"]:
                columns |= {"status": "pruned", "stopped_by": "asha"}
        worse = (columns["drop_prob"] - 0.4) ** 2 + 0.1 * abs(columns["lr"] - 1.0) + 0.02 * abs(columns["gamma"] - 0.7)
        yield f"{block}-{i:04d}", level * (0.97 + worse), columns
    for origin in ("paper", "default-0000"):
        for seed in range(101, 101 + NUM_SEEDS):
            ppl = level * rng.gauss(1.0, 0.004)
            more = {"origin": origin, "seed": seed, "single_stream_valid_ppl": ppl, "test_ppl": 0.955 * ppl}
            yield f"confirm-{origin}-s{seed}", ppl, more


def write_many(storage: str) -> int:
    """Writes the records; returns the number of epochs."""
    num_rows = 0
    for setting in TABLE_1_SETTINGS:
        study, rng = f"{setting.variant}-{setting.size}-{setting.corpus}-0a1b2c3d", random.Random("/".join(setting))
        write_run(storage, setting, study, num_samples=1 + NUM_RANDOM + NUM_TPE, max_epochs=NUM_EPOCHS)
        for trial_id, final, columns in trials(setting, rng):
            ppls = curve(final, NUM_EPOCHS, rng)
            ppls = ppls[: NUM_EPOCHS // 4] if columns.get("status") == "pruned" else ppls
            write_trial(storage, setting, study, trial_id, ppls, max_epochs=NUM_EPOCHS, **columns)
            num_rows += len(ppls)
    return num_rows


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.many", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write; records that are there are kept")
    folder = parser.parse_args(argv).folder
    if not (folder / "results").exists():
        os.fsync = lambda _: None  # thousands of small files, and nobody will pull the plug on them
        start = time.perf_counter()
        num_rows = write_many(str(folder / "results"))
        print(f"wrote {num_rows:,} epochs in {time.perf_counter() - start:.1f} s")
    command = ["-m", "analysis.report", "--results", str(folder / "results"), "--out", str(folder / "report")]
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    page = folder / "report" / "report.html"
    print(f"report in {time.perf_counter() - start:.1f} s, page of {page.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
