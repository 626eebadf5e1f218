"""Importance of the searched parameters by PED-ANOVA on the random block, with a permutation null.

Watanabe, Bansal and Hutter (IJCAI 2023): for each parameter alone, how much the density of the best trials differs
from the density of all of them. The densities and their divergence are Optuna's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from study.records.parameters import CATEGORICAL, INTEGER, LOG, PARAMETERS

QUANTILE = 0.25
"""Share of the trials that count as the best; ties at the edge are all among them."""
MIN_DRAWS = 17
"""Of fewer draws fewer than five are among the best, too few for a density."""
_NUM_PERMUTATIONS = 59  # chance exceeds the third largest of 59 in 3 of 60 cases


class Importance(NamedTuple):
    """Importances of one study's parameters."""

    shares: dict[str, float]
    """Parameter -> share of the sum over all parameters, the largest first; zero where none matters."""
    null: float
    """Largest share of any parameter that 95 % of random permutations of the losses stay below."""


def ped_anova(params: pd.DataFrame, loss: np.ndarray) -> Importance:
    """Computes importances and their null, with a fixed seed, in about a second at 20 draws and ten parameters.

    The null compares with the largest share of all parameters: with nothing to find, some parameter exceeds it in 5 %
    of studies.

    Args:
        params: a row per trial, a column per parameter of ``study.records.parameters``, without missing values.
        loss: shape (trials,), finite, lower is better.

    Raises:
        ValueError: if there are no trials, a loss is not finite, or a parameter is missing in a trial.
    """
    loss = np.asarray(loss, dtype=float)
    if not len(loss) or len(params) != len(loss):
        raise ValueError(f"importance needs a loss for each trial, got {len(loss)} for {len(params)} trials")
    if not np.isfinite(loss).all():
        raise ValueError("losses must be finite: leave out what diverged, or give it a value")
    if missing := [str(name) for name in params if params[name].isna().any()]:
        raise ValueError(f"every trial must have every parameter, missing in {', '.join(missing)}")
    space = {str(name): _distribution(str(name), params[name].tolist()) for name in params}
    rows = params.to_dict("records")
    rng = np.random.default_rng(0)
    by_chance = sorted(max(_shares(rows, space, rng.permutation(loss)).values()) for _ in range(_NUM_PERMUTATIONS))
    return Importance(_shares(rows, space, loss), by_chance[-3])


def _distribution(name: str, values: Sequence) -> BaseDistribution:
    """The range, or all options, of these trials."""
    scale = PARAMETERS[name].scale
    if scale == CATEGORICAL:
        return CategoricalDistribution(sorted(set(values), key=str))
    if scale == INTEGER:
        return IntDistribution(int(min(values)), int(max(values)))
    return FloatDistribution(min(values), max(values), log=scale == LOG)


def _shares(rows: Sequence[dict], space: dict[str, BaseDistribution], loss: np.ndarray) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Optuna logs each study that is made
    study = optuna.create_study()
    study.add_trials(
        [create_trial(params=row, distributions=space, value=float(v)) for row, v in zip(rows, loss, strict=True)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where all trials tie, Optuna warns and finds that nothing matters
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=QUANTILE)
        found = evaluator.evaluate(study, params=list(space))
    total = math.fsum(found.values())
    return {name: value / total if total > 0 else 0.0 for name, value in found.items()}
