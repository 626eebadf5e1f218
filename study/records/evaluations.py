"""The ``evaluations`` of earlier versions, which recorded them as columns of a trial's row.

The reader turns them into rows, so whoever asks for evaluations finds them all, in records that were begun by an
earlier version and gone on with by this one too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from study.records.schemas import EVALUATIONS, TRIALS
from trainables.recipes import PERPLEXITY, SINGLE_STREAM

SPLITS = {"single_stream_valid_ppl": "valid", "test_ppl": "test"}
"""Column of earlier versions -> the split whose perplexity, read as one stream, it had."""
_SHARED = {"study": "study", "trial_id": "trial_id", "attempt": "attempt", "seed": "seed", "epoch": "best_epoch"}
_SHARED |= {"recorded_at": "ended_at"}
"""Column of ``evaluations`` -> the trial's column that it comes from."""

EARLIER_TRIALS = pa.schema([*(TRIALS.field(name) for name in _SHARED.values()), *((n, pa.float64()) for n in SPLITS)])
"""What an evaluation is made of in a row of ``trials`` of an earlier version."""


def evaluations_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an earlier version measured, of a row of ``trials`` or of a trial's checkpoint: evaluator, split, measure
    and value of each; nothing of a row of this version."""
    return [
        {"evaluator": SINGLE_STREAM, "split": split, "measure": PERPLEXITY, "value": row[column]}
        for column, split in SPLITS.items()
        if row.get(column) is not None
    ]


def as_evaluations(trials: pa.Table) -> pa.Table:
    """The rows of ``evaluations`` that stand in columns of ``trials``, read with ``EARLIER_TRIALS``; columns that are
    not its own (corpus, size, variant) are kept."""
    more = [field for field in trials.schema if field.name not in EARLIER_TRIALS.names]
    rows = [
        {name: row[column] for name, column in _SHARED.items()} | {f.name: row[f.name] for f in more} | found
        for row in trials.to_pylist()
        for found in evaluations_of(row)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([*EVALUATIONS, *more]))
