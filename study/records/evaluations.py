"""Converts the evaluations of earlier versions, columns of a trial's row, to rows of ``evaluations``.

A study that an earlier version began and this one continues has both forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from study.records.schemas import EVALUATIONS, TRIALS
from trainables.recipes import PERPLEXITY, SINGLE_STREAM

SPLITS = {"single_stream_valid_ppl": "valid", "test_ppl": "test"}
"""Column of an earlier version -> the split whose single-stream perplexity it holds."""
_SHARED = {"study": "study", "trial_id": "trial_id", "attempt": "attempt", "seed": "seed", "epoch": "best_epoch"}
_SHARED |= {"recorded_at": "ended_at"}
"""Column of ``evaluations`` -> the trial's column that it comes from."""

EARLIER_TRIALS = pa.schema([*(TRIALS.field(name) for name in _SHARED.values()), *((n, pa.float64()) for n in SPLITS)])
"""The columns of an earlier version's ``trials`` that an evaluation is made of."""


def evaluations_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Evaluator, split, measure and value of each evaluation in an earlier version's row of ``trials`` or of a
    checkpoint; empty for a row of this version."""
    return [
        {"evaluator": SINGLE_STREAM, "split": split, "measure": PERPLEXITY, "value": row[column]}
        for column, split in SPLITS.items()
        if row.get(column) is not None
    ]


def as_evaluations(trials: pa.Table) -> pa.Table:
    """Converts ``trials``, read with ``EARLIER_TRIALS``, to rows of ``evaluations``; keeps corpus, size and variant."""
    more = [field for field in trials.schema if field.name not in EARLIER_TRIALS.names]
    rows = [
        {name: row[column] for name, column in _SHARED.items()} | {f.name: row[f.name] for f in more} | found
        for row in trials.to_pylist()
        for found in evaluations_of(row)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([*EVALUATIONS, *more]))
