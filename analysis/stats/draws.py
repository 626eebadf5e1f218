"""Statistics of independent draws from a search space: what a step in one parameter costs, and rank tests.

The random block draws every parameter independently of the others, so groups of draws that differ in one parameter
are alike in the rest, as the arms of a randomised trial are. TPE's trials are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats

from analysis.parameters import on_scale, searched
from analysis.stats.intervals import CONFIDENCE, t_quantile
from study.records.parameters import CATEGORICAL, PARAMETERS

NEAR, MODERATE = math.sqrt(2.0), 2.0
"""Factors off the recipe's value up to which a draw counts as near it, and as a moderate step away."""
NUM_PERMUTATIONS = 9_999
_MIN_DF = 10


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Cost of a moderate step in one parameter, on the scale of ln(perplexity)."""

    mean: float
    standard_error: float
    df: int
    num_near: int
    num_moderate: int

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Its t-interval."""
        margin = t_quantile(confidence, self.df) * self.standard_error
        return self.mean - margin, self.mean + margin


def step_costs(draws: pd.DataFrame, centres: Mapping[str, float]) -> dict[str, StepCost]:
    """The mean loss of draws a moderate step off the recipe minus that of draws near it, for each parameter.

    Least squares with, for each parameter of ``centres``, a term for a moderate step (a factor from sqrt(2) to 2
    either way) and one for a larger step; a mean for each study; and, to take out their noise, linear terms in the
    other searched parameters on the scale they are drawn on, with squares of drop_prob and lr. The draws are
    independent, so the terms need not be right for the estimate to be unbiased. Standard errors allow for unequal
    variances (HC3: MacKinnon and White, 1985).

    Args:
        draws: a row per random draw with ``study``, the searched parameters, and ``loss``, ln(perplexity), infinite
            where the trial diverged: that counts as the worst loss of its study.
        centres: parameter -> the recipe's value; the parameters are searched by all the studies.

    Returns:
        Parameter -> cost; empty where there are fewer than ten draws more than terms, or a group has fewer than two.
    """
    finite = draws["loss"].where(np.isfinite(draws["loss"]))
    y = finite.fillna(finite.groupby(draws["study"]).transform("max")).to_numpy(dtype=float)
    if not len(y) or not np.isfinite(y).all():
        return {}
    columns = {f"study {name}": (draws["study"] == name).to_numpy(dtype=float) for name in draws["study"].unique()}
    groups = {}
    for name, centre in centres.items():
        off = np.abs(np.log(draws[name].to_numpy(dtype=float) / centre))
        near, moderate = off <= math.log(NEAR), (off > math.log(NEAR)) & (off <= math.log(MODERATE))
        groups[name] = (int(near.sum()), int(moderate.sum()))
        columns[f"step {name}"], columns[f"far {name}"] = moderate.astype(float), (~near & ~moderate).astype(float)
    for name in searched(draws):
        if name not in centres:
            columns |= _control(name, draws[name])
    x, names = np.column_stack(list(columns.values())), list(columns)
    df = len(y) - int(np.linalg.matrix_rank(x))
    if df < _MIN_DF or any(count < 2 for pair in groups.values() for count in pair):
        return {}
    inverse = np.linalg.pinv(x.T @ x)
    coefficients = inverse @ x.T @ y
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    residuals = (y - x @ coefficients) / np.maximum(1.0 - leverage, 1e-6)
    covariance = inverse @ (x * residuals[:, None] ** 2).T @ x @ inverse
    return {
        name: StepCost(
            mean=float(coefficients[i]), standard_error=math.sqrt(covariance[i, i]), df=df, num_near=near,
            num_moderate=moderate,
        )
        for name, (near, moderate) in groups.items()
        for i in [names.index(f"step {name}")]
    }  # fmt: skip


def _control(name: str, values: pd.Series) -> dict[str, np.ndarray]:
    if PARAMETERS[name].scale == CATEGORICAL:
        codes = pd.factorize(values, sort=True)[0].astype(float)
        return {name: codes - codes.mean()}
    scaled = on_scale(name, values).to_numpy(dtype=float)
    scaled = (scaled - scaled.mean()) / scaled.std()
    return {name: scaled} | ({f"{name} squared": scaled**2} if name in ("drop_prob", "lr") else {})


def stratified_rank_test(strata: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float] | None:
    """Tests whether losses of one group are lower than those of another, compared within strata.

    The sum over strata of the first group's ranks over (size + 1) (van Elteren, 1960), against 9,999 permutations of
    the groups within the strata, drawn with a fixed seed; the observed one counts with them, which keeps the test
    valid. Only ranks count, so a diverged trial can stand as infinite.

    Args:
        strata: (losses of the first group, losses of the second) of each stratum.

    Returns:
        The chance that a draw of the first group has the lower loss (ties half), and the two-sided p-value; None if no
        stratum has both groups.
    """
    strata = [(a, b) for a, b in strata if len(a) and len(b)]
    if not strata:
        return None
    rng = np.random.default_rng(0)
    total, expected, wins, pairs = 0.0, 0.0, 0.0, 0
    permuted = np.zeros(NUM_PERMUTATIONS)
    for a, b in strata:
        ranks = scipy.stats.rankdata(np.concatenate([a, b]))
        size = len(ranks)
        total += ranks[: len(a)].sum() / (size + 1)
        expected += len(a) / 2
        wins += np.sum(a[:, None] < b) + 0.5 * np.sum(a[:, None] == b)
        pairs += len(a) * len(b)
        drawn = rng.permuted(np.broadcast_to(ranks, (NUM_PERMUTATIONS, size)), axis=1)[:, : len(a)]
        permuted += drawn.sum(axis=1) / (size + 1)
    distance = abs(total - expected) - 1e-9
    p_value = (1 + np.sum(np.abs(permuted - expected) >= distance)) / (1 + NUM_PERMUTATIONS)
    return float(wins / pairs), float(p_value)


def draws_for_rank_test(chance: float) -> int | None:
    """The number of draws, both groups together, for 80 % power at level .05 if the first is better with this chance.

    Noether (1987): (z_.975 + z_.80)^2 / (12 c (1 - c) (chance - .5)^2) with half of the draws in each group.
    """
    if chance == 0.5:
        return None
    level, power = scipy.stats.norm.ppf([0.975, 0.8])
    return math.ceil((level + power) ** 2 / (3.0 * (chance - 0.5) ** 2))
