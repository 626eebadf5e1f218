"""Keys of the trials behind a measured value, which carries them to where it is shown or written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd


class TrialKey(NamedTuple):
    """Names one trial of the records."""

    study: str
    trial_id: str
    """Unique within its study alone."""


def trial_keys(study: str, trial_ids: Iterable[object]) -> tuple[TrialKey, ...]:
    """Makes the keys of one study's trials, in the order given."""
    return tuple(TrialKey(study, str(trial_id)) for trial_id in trial_ids)


def keys_of(rows: pd.DataFrame) -> tuple[TrialKey, ...]:
    """Reads the keys off rows, each once and in their order.

    Args:
        rows: with the columns ``study`` and ``trial_id``, or ``trial_ids``, a tuple. Rows without them name no trial.
    """
    column = "trial_ids" if "trial_ids" in rows else "trial_id"
    named = rows[["study", column]].drop_duplicates().explode(column).dropna().drop_duplicates()
    return tuple(TrialKey(str(study), str(trial_id)) for study, trial_id in named.itertuples(index=False))


def by_study(trials: Iterable[TrialKey]) -> dict[str, tuple[str, ...]]:
    """Groups keys: study -> its trial ids, each once, in the order given."""
    found: dict[str, dict[str, None]] = {}
    for key in trials:
        found.setdefault(key.study, {})[key.trial_id] = None
    return {study: tuple(ids) for study, ids in found.items()}


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a frame as CSV; a tuple, such as the ids of several trials, becomes its items separated by spaces."""
    texts = {
        name: [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in frame[name]]
        for name in frame
        if frame[name].map(type).eq(tuple).any()
    }
    frame.assign(**texts).to_csv(path, index=False)
