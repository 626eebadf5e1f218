"""Which trials of a frame are which, by the rules in ``study.records.trials``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from study.records.trials import BEST_FIRST, is_diverged, is_protected, may_win_search


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
