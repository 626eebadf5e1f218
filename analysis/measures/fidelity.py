"""How well early epochs predict the end of a trial: rank correlation, and regret of choosing at epoch e.

Only trials that ASHA might not stop count. Of the others, those that reached the end are survivors, among which early
epochs predict less than among all.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import scipy.stats

from analysis.records.load import Results
from analysis.records.studies import SettingStudy
from analysis.records.trials import protected

MIN_TRIALS = 3
"""Fewest trials for a rank correlation: of two it is 1 or -1."""


def unpruned_epochs(results: Results, study: SettingStudy) -> pd.DataFrame:
    """Epochs of the study's complete search trials that ASHA might not stop: default, random and the audit arm."""
    search = study.search
    free = search[protected(search)]
    ids = free.loc[free["status"] == "complete", "trial_id"]
    epochs = results.epochs
    return epochs[(epochs["study"] == study.study) & epochs["trial_id"].isin(ids)]


def fidelity(epochs: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation with the end, and regret of choosing, at each epoch over the trials of one study.

    A trial is ranked at epoch e by its lowest validation perplexity so far, which is what ASHA compares, and ends with
    the lowest of all its epochs.

    Args:
        epochs: rows of ``Results.epochs`` of unpruned trials (``unpruned_epochs``).

    Returns:
        A row per epoch that all trials have: ``epoch``, ``spearman`` (rank correlation with the final values, ties
        by their mean rank; missing below three trials or where all are tied), ``regret_ppl`` (perplexity by which
        the end of the trial that leads at this epoch lies above the best end), ``num_trials``.
    """
    columns = ["epoch", "spearman", "regret_ppl", "num_trials"]
    valid = epochs[np.isfinite(epochs["valid_ppl"].astype(float))]
    table = valid.pivot_table(index="epoch", columns=["study", "trial_id"], values="valid_ppl").sort_index().cummin()
    if table.empty:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in columns})
    final = table.ffill().iloc[-1]
    table = table.dropna()  # a mean over changing trials would jump
    rows = []
    for epoch, so_far in table.iterrows():
        chosen = float(final[so_far.idxmin()])
        rows.append(
            {
                "epoch": int(epoch),
                "spearman": _spearman(so_far, final),
                "regret_ppl": chosen - float(final.min()),
                "num_trials": len(final),
            }
        )
    return pd.DataFrame(rows, columns=columns)


def _spearman(a: pd.Series, b: pd.Series) -> float:
    if len(a) < MIN_TRIALS or a.nunique() < 2 or b.nunique() < 2:
        return math.nan
    return float(scipy.stats.spearmanr(a, b).statistic)
