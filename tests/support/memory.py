"""Records made in memory, without a file: rows that say what a test needs, and the rest from the paper's recipe."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.records.load import Results, empty_frame
from study.records.records import HIVE_KEYS, SCHEMAS, Setting
from tests.support.synthetic import START, split_evaluations
from trainables.config import paper_config
from trainables.models import num_params
from trainables.recipes import SIZES

Row = dict[str, Any]


def name_of(setting: Setting) -> str:
    """The study of a setting."""
    return f"{setting.variant}-{setting.size}-{setting.corpus}-0a1b2c3d"


def trial(setting: Setting, trial_id: str, ppl: float | None = None, **columns: Any) -> Row:
    """A trial that reached this validation perplexity; any column can be given. The block is read off the id."""
    config = paper_config(setting.variant, setting.size, setting.corpus, max_epochs=columns.get("max_epochs"))
    start = columns.get("started_at", START)
    row: Row = {
        **config.to_dict(), "alpha": config.alpha, "study": name_of(setting), "trial_id": trial_id, "attempt": 1,
        "block": trial_id.split("-")[0], "audit": False, "status": "complete", "stopped_by": "max_epochs",
        "num_epochs": config.max_epochs, "best_epoch": config.max_epochs, "best_valid_ppl": ppl,
        "final_valid_ppl": ppl, "num_params": num_params(config), "device_s": 36.0, "precision": "fp32",
        "git_commit": "c0ffee", "started_at": start, "ended_at": start + timedelta(hours=1),
    }  # fmt: skip
    return row | columns


def confirm(setting: Setting, test_ppl: Mapping[int, float], *, origin: str = "paper", **columns: Any) -> list[Row]:
    """Confirm trials with these test perplexities by seed; the validation perplexity is 4 % above."""
    start = columns.pop("started_at", START + timedelta(days=1))
    return [
        trial(
            setting, f"confirm-{origin}-s{seed}", ppl * 1.04, origin=origin, seed=seed, test_ppl=ppl,
            single_stream_valid_ppl=ppl * 1.039, started_at=start, **columns,
        )
        for seed, ppl in test_ppl.items()
    ]  # fmt: skip


def run(setting: Setting, **columns: Any) -> Row:
    """A run of a setting's study; any column can be given."""
    row: Row = {
        **setting._asdict(), "study": name_of(setting), "run": 1, "started_at": START,
        "heartbeat_at": START + timedelta(days=2), "ended_at": START + timedelta(days=2),
        "outcome": "finished", "git_commit": "c0ffee", "git_dirty": False,
        "python": "3.11.7", "torch": "2.13.0", "ray": "2.60.0", "optuna": "5.0.0", "pyarrow": "26.0.1",
        "corpus_sha256": f"sum of {setting.corpus}", "space_hash": "space", "search_seed": 0, "num_samples": 1,
        "num_seeds": 6, "max_epochs": SIZES[setting.size].max_epochs,
    }  # fmt: skip
    return row | columns


def results(
    trials: Iterable[Row] = (),
    runs: Iterable[Row] = (),
    *,
    epochs: Iterable[Row] = (),
    subspace: Iterable[Row] = (),
    word_mass: Iterable[Row] = (),
) -> Results:
    """The rows as the report reads them; a trial's evaluations are columns of its row."""
    trials, evaluations = split_evaluations(trials)
    tables = {
        "trials": trials, "runs": runs, "epochs": epochs, "evaluations": evaluations, "subspace": subspace,
        "word_mass": word_mass,
    }  # fmt: skip
    return Results(storages=("memory",), **{name: _frame(name, list(rows)) for name, rows in tables.items()})


def _frame(table: str, rows: list[Row]) -> pd.DataFrame:
    if not rows:
        return empty_frame(table)
    schema = pa.schema([*SCHEMAS[table], *HIVE_KEYS])
    if unknown := {key for row in rows for key in row} - set(schema.names):
        raise KeyError(f"table {table} has no column {', '.join(sorted(unknown))}")
    return pa.Table.from_pylist(rows, schema=schema).to_pandas().assign(storage="memory")


def by_seed(level: float, num_seeds: int = 6, *, spread: float = 0.0005, key: str = "") -> dict[int, float]:
    """Perplexities about a level, one per seed from 101 on; ``spread`` is the standard deviation of their logarithm."""
    rng = random.Random(f"{level} {key}")
    return {101 + i: level * math.exp(rng.gauss(0.0, spread)) for i in range(num_seeds)}
