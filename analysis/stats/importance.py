"""Which hyperparameters decide whether a trial is among the best: PED-ANOVA on the random block.

Watanabe, Bansal and Hutter (IJCAI 2023): for each parameter alone, how much the density of the best trials differs
from the density of all of them. The densities and their divergence are Optuna's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from analysis.stats.intervals import CONFIDENCE
from study.records.parameters import CATEGORICAL, INTEGER, LOG, PARAMETERS

QUANTILE = 0.25
"""Share of the trials that count as the best; ties at the edge are all among them."""
MIN_TOP = 5
"""Fewer best trials than this make no density."""


def importance_ranks(params: pd.DataFrame, loss: np.ndarray, *, num_bootstrap: int = 60) -> pd.DataFrame:
    """Importances, their ranks, and how far the ranks move when the trials are drawn again with replacement.

    The rank's interval is the middle 95 % of its bootstrap distribution. It says how stable the order is under
    resampling, not more: a rank that moves over half the parameters has not been found out.

    Args:
        params: a row per trial, a column per parameter of ``study.records.parameters``, without missing values.
        loss: shape (trials,), finite, lower is better.
        num_bootstrap: how often the trials are drawn again, with a fixed seed; each time costs some 10 to 20 ms.

    Returns:
        A row per parameter, the most important first: ``parameter``, ``importance`` (share of the sum over all
        parameters; zero if none matters), ``rank`` (from 1), ``rank_low``, ``rank_high``, ``num_trials``,
        ``reason``. Fewer than ``MIN_TOP`` best trials cannot carry an interval: then ``rank_low`` and ``rank_high``
        are missing and ``reason`` says why.

    Raises:
        ValueError: if there are no trials, a loss is not finite, or a parameter is missing in a trial.
    """
    if not len(loss) or len(params) != len(loss):
        raise ValueError(f"importance needs a loss for each trial, got {len(loss)} for {len(params)} trials")
    if not np.isfinite(np.asarray(loss, dtype=float)).all():
        raise ValueError("losses must be finite: leave out what diverged, or give it a value")
    if missing := [str(name) for name in params if params[name].isna().any()]:
        raise ValueError(f"every trial must have every parameter, missing in {', '.join(missing)}")
    names = [str(name) for name in params]
    space = {name: _distribution(name, params[name].tolist()) for name in names}
    trials = [
        create_trial(params=row, distributions=space, value=float(value))
        for row, value in zip(params.to_dict("records"), loss, strict=True)
    ]
    found, num = _shares(trials, names), len(trials)
    num_top = math.ceil(QUANTILE * num)
    frame = pd.DataFrame(
        {"parameter": list(found), "importance": list(found.values()), "rank": range(1, len(found) + 1)}
    )
    low = high = np.full(len(found), math.nan)
    reason = None
    if num_top < MIN_TOP:
        reason = f"{num_top} of {num} trials are too few to count as the best, it takes {MIN_TOP}"
    else:
        rng = np.random.default_rng(0)
        drawn = (rng.integers(0, num, size=num).tolist() for _ in range(num_bootstrap))
        resampled = [_shares([trials[i] for i in indices], names) for indices in drawn]
        ranks = pd.DataFrame(resampled, columns=list(found)).rank(axis=1, ascending=False)
        ends = [(1.0 - CONFIDENCE) / 2, (1.0 + CONFIDENCE) / 2]
        low, high = ranks.quantile(ends, interpolation="nearest").to_numpy()
    return frame.assign(rank_low=low, rank_high=high, num_trials=num, reason=reason)


def _distribution(name: str, values: Sequence) -> BaseDistribution:
    """The range, or all options, of these trials."""
    scale = PARAMETERS[name].scale
    if scale == CATEGORICAL:
        return CategoricalDistribution(sorted(set(values), key=str))
    if scale == INTEGER:
        return IntDistribution(int(min(values)), int(max(values)))
    return FloatDistribution(min(values), max(values), log=scale == LOG)


def _shares(trials: Sequence[FrozenTrial], names: list[str]) -> dict[str, float]:
    """Parameter -> share of the sum over all parameters, the largest first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Optuna logs each study that is made
    study = optuna.create_study()
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where all trials tie, Optuna warns and finds that nothing matters
        found = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=QUANTILE).evaluate(study, params=names)
    total = math.fsum(found.values())
    return {name: value / total if total > 0 else 0.0 for name, value in found.items()}
