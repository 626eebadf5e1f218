"""The records of one or more storages as tidy frames: a row per trial, a row per epoch, a row per run, and so on.

Unfinished, failed and pruned trials are kept; each table and figure selects what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from study.records.records import HIVE_KEYS, SCHEMAS, read_table

TRIAL = ["study", "trial_id"]


def empty_frame(table: str) -> pd.DataFrame:
    """No rows of a table, with all its columns."""
    return pa.schema([*SCHEMAS[table], *HIVE_KEYS]).empty_table().to_pandas().assign(storage="")


@dataclass(frozen=True)
class Results:
    """All records of the storages; each frame has the columns of ``study.records.records`` plus the following.

    Every frame: ``corpus``, ``size``, ``variant``, ``storage``.
    """

    storages: tuple[str, ...]
    trials: pd.DataFrame
    """Unique by (study, trial_id)."""
    epochs: pd.DataFrame
    """Unique by (study, trial_id, epoch), sorted by them; only of trials in ``trials``."""
    runs: pd.DataFrame
    """Unique by (study, run, started_at)."""
    evaluations: pd.DataFrame = field(default_factory=lambda: empty_frame("evaluations"))
    """Unique by (study, trial_id, evaluator, split, measure), sorted by them."""
    subspace: pd.DataFrame = field(default_factory=lambda: empty_frame("subspace"))
    """Unique by (study, trial_id, epoch), sorted by them."""
    predictions: pd.DataFrame = field(default_factory=lambda: empty_frame("predictions"))
    """Unique by (study, trial_id, phrase, rank), sorted by them."""
    word_mass: pd.DataFrame = field(default_factory=lambda: empty_frame("word_mass"))
    """Unique by (study, trial_id, split, word), sorted by study, trial, split and frequency."""

    @property
    def is_empty(self) -> bool:
        """Whether no study has ever started."""
        return self.trials.empty and self.runs.empty and self.subspace.empty


def load_results(storages: Sequence[str]) -> Results:
    """Reads the tables of each storage and joins them.

    A study in several storages (a copy, or parts run on several machines) counts once. A trial that occurs more than
    once is read from its latest attempt; of equal attempts, from one that has ended, then from the later start.

    Raises:
        study.records.records.StorageError: if a storage cannot be read.
    """
    tables = {name: _read(storages, name) for name in SCHEMAS if name != "token_scores"}
    trials = _latest_attempts(tables["trials"])
    epochs = _unique_epochs(tables["epochs"], trials)
    runs = tables["runs"].sort_values(["study", "started_at", "run"], kind="stable")
    runs = runs.drop_duplicates(["study", "run", "started_at"], keep="last").reset_index(drop=True)
    return Results(
        storages=tuple(storages),
        trials=_fill_from_epochs(trials, epochs),
        epochs=epochs,
        runs=runs,
        evaluations=_latest_recorded(tables["evaluations"], [*TRIAL, "evaluator", "split", "measure"], "epoch"),
        subspace=_unique_subspace(tables["subspace"]),
        predictions=_latest_recorded(tables["predictions"], [*TRIAL, "phrase"], "rank"),
        word_mass=_latest_recorded(tables["word_mass"], [*TRIAL, "split"], "frequency_rank"),
    )


def load_token_scores(storages: Sequence[str]) -> pd.DataFrame:
    """The ``token_scores`` table, unique by (study, trial_id, split) and sorted by them.

    Not a part of ``Results``: its ``log_probs``, an array (N,) in each row, take .6 MB a trial, and no table, figure or
    claim needs them.

    Raises:
        study.records.records.StorageError: if a storage cannot be read.
    """
    return _latest_recorded(_read(storages, "token_scores"), [*TRIAL, "split"], "epoch")


def _read(storages: Sequence[str], table: str) -> pd.DataFrame:
    # One chunk per column: as many as there are files would make every selection slow.
    tables = ((storage, read_table(storage, table).combine_chunks()) for storage in storages)
    frames = [found.to_pandas().assign(storage=storage) for storage, found in tables]
    # Empty frames would change the dtypes of the others.
    return pd.concat([f for f in frames if not f.empty] or frames[:1], ignore_index=True)


def _latest_attempts(trials: pd.DataFrame) -> pd.DataFrame:
    order = trials.assign(_ended=trials["ended_at"].notna())
    order = order.sort_values([*TRIAL, "attempt", "_ended", "started_at"], kind="stable", na_position="first")
    return order.drop_duplicates(TRIAL, keep="last").drop(columns="_ended").reset_index(drop=True)


def _unique_epochs(epochs: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """The epochs of the trials' own storage, each once."""
    return _drop_superseded(epochs.merge(trials[[*TRIAL, "storage"]], on=[*TRIAL, "storage"]))


def _unique_subspace(rows: pd.DataFrame) -> pd.DataFrame:
    """Each epoch once; of a trial that lies in several storages, the one that got further."""
    reached = rows.groupby([*TRIAL, "storage"], sort=False)[["attempt", "epoch"]].max().reset_index()
    reached = reached.sort_values([*TRIAL, "attempt", "epoch"], kind="stable").drop_duplicates(TRIAL, keep="last")
    return _drop_superseded(rows.merge(reached[[*TRIAL, "storage"]], on=[*TRIAL, "storage"]))


def _drop_superseded(epochs: pd.DataFrame) -> pd.DataFrame:
    """Removes the rows of earlier attempts from the epoch on at which a later attempt began."""
    starts = epochs.groupby([*TRIAL, "attempt"])["epoch"].min().rename("_superseded_from").reset_index()
    # The earliest start among the attempts after each one: a running minimum from the last attempt backwards.
    starts = starts.iloc[::-1].reset_index(drop=True)
    by_trial = starts.groupby(TRIAL)["_superseded_from"]
    starts["_superseded_from"] = by_trial.cummin().groupby([starts[c] for c in TRIAL]).shift(1).fillna(np.inf)
    epochs = epochs.merge(starts, on=[*TRIAL, "attempt"])
    epochs = epochs[epochs["epoch"] < epochs["_superseded_from"]].drop(columns="_superseded_from")
    return epochs.sort_values([*TRIAL, "epoch"], kind="stable").reset_index(drop=True)


def _latest_recorded(rows: pd.DataFrame, keys: list[str], order: str) -> pd.DataFrame:
    """Keeps of each group of ``keys`` the rows recorded together last: latest attempt, then latest time."""
    together = [*keys, "storage", "attempt"]
    last = rows.groupby(together, sort=False)["recorded_at"].max().reset_index()
    last = last.sort_values([*keys, "attempt", "recorded_at"], kind="stable").drop_duplicates(keys, keep="last")
    rows = rows.merge(last[together], on=together)
    return rows.sort_values([*keys, order], kind="stable").reset_index(drop=True)


def _fill_from_epochs(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Fills an interrupted trial's results from its epochs, since its row dates from its start; keeps other rows."""
    finite = epochs[np.isfinite(epochs["valid_ppl"].astype(float))]
    best = finite.loc[finite.groupby(TRIAL)["valid_ppl"].idxmin()].set_index(TRIAL)
    last = epochs.drop_duplicates(TRIAL, keep="last").set_index(TRIAL)
    found = {
        "num_epochs": last["epoch"],
        "final_valid_ppl": last["valid_ppl"],
        "best_epoch": best["epoch"],
        "best_valid_ppl": best["valid_ppl"],
        "device_s": epochs.groupby(TRIAL)["epoch_s"].sum(),
    }
    index = pd.MultiIndex.from_frame(trials[TRIAL])
    for column, values in found.items():
        so_far = pd.Series(values.reindex(index).to_numpy(dtype=float), index=trials.index)
        recorded = trials[column].astype(float)
        stale = recorded.isna() | ((trials["status"] == "interrupted") & so_far.notna())
        trials[column] = recorded.mask(stale, so_far)
    trials["num_epochs"] = trials["num_epochs"].fillna(0.0)
    trials["device_s"] = trials["device_s"].fillna(0.0)
    return trials
