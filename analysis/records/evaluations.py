"""What was measured on trials' finished weights, asked by evaluator and split."""

from __future__ import annotations

import pandas as pd

from analysis.records.load import TRIAL
from trainables.recipes import PERPLEXITY, SINGLE_STREAM


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
        evaluator: how it was measured.
        measure: what was.
    """
    keys = (evaluations["evaluator"] == evaluator) & (evaluations["measure"] == measure)
    values = evaluations[keys & (evaluations["split"] == split)].set_index(TRIAL)["value"]
    found = values.reindex(pd.MultiIndex.from_frame(trials[TRIAL]))
    return pd.Series(found.to_numpy(dtype=float), index=trials.index)


def side_by_side(evaluations: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """All that was measured, a column per evaluator, split and measure, named by the three; a row per trial, as in
    ``measured``."""
    kinds = evaluations[["evaluator", "split", "measure"]].drop_duplicates().itertuples(index=False)
    columns = {
        f"{evaluator} {split} {measure}": measured(evaluations, trials, split, evaluator=evaluator, measure=measure)
        for evaluator, split, measure in kinds
    }
    return pd.DataFrame(columns, index=trials.index)
