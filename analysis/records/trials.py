"""Selects trials by the rules in ``study.records.trials``, and reads what was measured on their finished weights."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.records.load import TRIAL
from study.records.trials import BEST_FIRST, is_diverged, is_protected, may_win_search
from trainables.recipes import PERPLEXITY, SINGLE_STREAM


def protected(trials: pd.DataFrame) -> pd.Series:
    """Whether ASHA may not stop a trial of the search."""
    return is_protected(trials["block"], trials["audit"].fillna(False).astype(bool))


def diverged(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial failed because its loss stopped being finite."""
    return is_diverged(trials["status"], trials["stopped_by"])


def best_of_search(trials: pd.DataFrame) -> pd.DataFrame:
    """The search's trials that were trained in full and have a perplexity, the best first."""
    finite = np.isfinite(trials["best_valid_ppl"].astype(float))
    return trials[may_win_search(trials["block"], trials["status"]) & finite].sort_values(list(BEST_FIRST))


def measured(
    evaluations: pd.DataFrame,
    trials: pd.DataFrame,
    split: str,
    *,
    evaluator: str = SINGLE_STREAM,
    measure: str = PERPLEXITY,
) -> pd.Series:
    """The value of each trial, NaN where there is none.

    Args:
        evaluations: rows of ``Results.evaluations``.
        trials: rows of ``Results.trials``; their index is the answer's.
        split: ``valid`` or ``test``.
        evaluator: for instance ``single_stream``.
        measure: for instance ``perplexity``.
    """
    keys = (evaluations["evaluator"] == evaluator) & (evaluations["measure"] == measure)
    values = evaluations[keys & (evaluations["split"] == split)].set_index(TRIAL)["value"]
    found = values.reindex(pd.MultiIndex.from_frame(trials[TRIAL]))
    return pd.Series(found.to_numpy(dtype=float), index=trials.index)


def side_by_side(evaluations: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """All evaluations as a frame: a row per trial, a column ``EVALUATOR SPLIT MEASURE``."""
    kinds = evaluations[["evaluator", "split", "measure"]].drop_duplicates().itertuples(index=False)
    columns = {
        f"{evaluator} {split} {measure}": measured(evaluations, trials, split, evaluator=evaluator, measure=measure)
        for evaluator, split, measure in kinds
    }
    return pd.DataFrame(columns, index=trials.index)
