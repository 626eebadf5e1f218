"""Which hyperparameters decide whether a trial is among the best: PED-ANOVA on the random block.

Watanabe, Bansal and Hutter (IJCAI 2023): for each parameter alone, how much the density of the best trials differs
from the density of all of them. Densities are Gaussian kernels on a grid over the range, with the bandwidth of Scott's
rule and one flat kernel that stands for the prior; with the same settings the numbers are Optuna's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats.intervals import CONFIDENCE
from study.records.parameters import CATEGORICAL, INTEGER, LOG, PARAMETERS

QUANTILE = 0.25
"""Share of the trials that count as the best."""
MIN_TOP = 5
"""Fewer best trials than this make no density."""
_NUM_STEPS = 50
_MIN_BANDWIDTH = 0.5 / 1.64  # nine tenths of a kernel within its own step of the grid

_SCALES = {name: parameter.scale for name, parameter in PARAMETERS.items()}

Domains = Mapping[str, Sequence[Any]]
"""Parameter -> its range (low, high), or all its choices."""


@dataclass(frozen=True)
class _Binned:
    """A parameter's values as positions on a grid."""

    positions: np.ndarray
    size: int
    choice: bool


def ped_anova(
    params: pd.DataFrame,
    loss: np.ndarray,
    *,
    quantile: float = QUANTILE,
    domains: Domains | None = None,
    scales: Mapping[str, str] = _SCALES,
) -> dict[str, float]:
    """The importance of each parameter for reaching the best ``quantile`` of the trials.

    Args:
        params: a row per trial, a column per parameter, without missing values.
        loss: shape (trials,), finite, lower is better.
        quantile: share of the trials that count as the best; ties at the edge are all among them.
        domains: where a range or the choices are known; otherwise they are those of the trials.
        scales: parameter -> ``linear``, ``log``, ``integer`` or ``categorical``; ``linear`` if it is not there.

    Returns:
        Parameter -> share of the sum over all parameters, the largest first; zeros if no parameter matters at all.

    Raises:
        ValueError: if there are no trials, a loss is not finite, or ``quantile`` is not inside (0, 1).
    """
    _check(params, loss, quantile)
    binned = {name: _bin(params[name], scales.get(name), (domains or {}).get(name)) for name in params}
    return _shares(binned, np.asarray(loss, dtype=float), quantile)


def importance_ranks(
    params: pd.DataFrame,
    loss: np.ndarray,
    *,
    quantile: float = QUANTILE,
    num_bootstrap: int = 200,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    domains: Domains | None = None,
    scales: Mapping[str, str] = _SCALES,
) -> pd.DataFrame:
    """Importances, their ranks, and how far the ranks move when the trials are drawn again with replacement.

    The rank's interval is the middle ``confidence`` of its bootstrap distribution. It says how stable the order is
    under resampling, not more: a rank that moves over half the parameters has not been found out.

    Returns:
        A row per parameter, the most important first: ``parameter``, ``importance``, ``rank`` (from 1),
        ``rank_low``, ``rank_high``, ``num_trials``, ``reason``. Fewer than ``MIN_TOP`` best trials cannot carry an
        interval: then ``rank_low`` and ``rank_high`` are missing and ``reason`` says why.

    Raises:
        ValueError: as ``ped_anova``.
    """
    _check(params, loss, quantile)
    loss = np.asarray(loss, dtype=float)
    binned = {name: _bin(params[name], scales.get(name), (domains or {}).get(name)) for name in params}
    found = _shares(binned, loss, quantile)
    names, num = list(found), len(loss)
    num_top = math.ceil(quantile * num)
    frame = pd.DataFrame({"parameter": names, "importance": list(found.values()), "rank": range(1, len(names) + 1)})
    low: Any = np.full(len(names), math.nan)
    high, reason = low, None
    if num_top < MIN_TOP:
        reason = f"{num_top} of {num} trials are too few to count as the best, it takes {MIN_TOP}"
    else:
        rng, resampled = np.random.default_rng(seed), []
        for _ in range(num_bootstrap):
            drawn = rng.integers(0, num, size=num)
            again = {name: _Binned(b.positions[drawn], b.size, b.choice) for name, b in binned.items()}
            resampled.append(_shares(again, loss[drawn], quantile))
        ranks = pd.DataFrame(resampled, columns=names).rank(axis=1, ascending=False)
        ends = [(1.0 - confidence) / 2, (1.0 + confidence) / 2]
        low, high = ranks.quantile(ends, interpolation="nearest").to_numpy()
    return frame.assign(rank_low=low, rank_high=high, num_trials=num, reason=reason)


def _check(params: pd.DataFrame, loss: np.ndarray, quantile: float) -> None:
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must lie inside (0, 1), got {quantile!r}")
    if not len(loss) or len(params) != len(loss):
        raise ValueError(f"importance needs a loss for each trial, got {len(loss)} for {len(params)} trials")
    if not np.isfinite(np.asarray(loss, dtype=float)).all():
        raise ValueError("losses must be finite: leave out what diverged, or give it a value")
    if missing := [str(name) for name in params if params[name].isna().any()]:
        raise ValueError(f"every trial must have every parameter, missing in {', '.join(missing)}")


def _bin(values: pd.Series, scale: str | None, domain: Sequence[Any] | None) -> _Binned:
    """Positions on a grid of at most 50 steps, on the scale that the values are drawn on."""
    if scale == CATEGORICAL:
        choices = list(domain) if domain is not None else sorted(values.unique().tolist(), key=str)
        return _Binned(np.array([choices.index(value) for value in values.tolist()]), len(choices), True)
    x = values.to_numpy(dtype=float)
    low, high = (float(end) for end in (domain if domain is not None else (x.min(), x.max())))
    size = min(round(high - low) + 1, _NUM_STEPS) if scale == INTEGER else _NUM_STEPS
    if scale == LOG:
        x, low, high = np.log(x), math.log(low), math.log(high)
    if high <= low or size < 2:
        return _Binned(np.zeros(len(x), dtype=int), 1, False)
    positions = np.ceil((x - low) / ((high - low) / (size - 1)) - 0.5).astype(int)
    return _Binned(np.clip(positions, 0, size - 1), size, False)


def _shares(binned: Mapping[str, _Binned], loss: np.ndarray, quantile: float) -> dict[str, float]:
    edge = np.sort(loss)[math.ceil(quantile * len(loss)) - 1]
    top = loss <= edge
    raw = {name: _divergence(b, top) for name, b in binned.items()}
    total = math.fsum(raw.values())
    return {
        name: (value / total if total > 0 else 0.0) for name, value in sorted(raw.items(), key=lambda item: -item[1])
    }


def _divergence(binned: _Binned, top: np.ndarray) -> float:
    """Pearson divergence of the best trials' density from all trials' (Watanabe et al., eq. 11), up to a factor."""
    if binned.size < 2:
        return 0.0
    best, every = (_density(positions, binned) + 1e-12 for positions in (binned.positions[top], binned.positions))
    return float(every @ (best / every - 1.0) ** 2)


def _density(positions: np.ndarray, binned: _Binned) -> np.ndarray:
    """The mixture of a kernel for each position and a flat one, on the grid."""
    size = binned.size
    counts = np.bincount(positions, minlength=size)
    at = np.flatnonzero(counts)
    weights = np.append(counts[at], 1.0) / (counts.sum() + 1.0)
    if binned.choice:
        flat = 1.0 / (len(at) + 1)
        kernels = np.full((len(at) + 1, size), flat)
        kernels[np.arange(len(at)), at] += 1.0
    else:
        kernels = np.vstack([_kernels(at, _bandwidth(counts, at), size), _flat(size)])
    return weights @ (kernels / kernels.sum(axis=1, keepdims=True))


def _bandwidth(counts: np.ndarray, at: np.ndarray) -> float:
    """Scott's rule, in steps of the grid."""
    num, cumulated = int(counts.sum()), np.cumsum(counts[at])
    mean = at @ counts[at] / num
    sd = math.sqrt((at - mean) ** 2 @ counts[at] / max(1, num - 1))
    first = int(np.searchsorted(cumulated, num // 4, side="left"))
    third = min(len(at) - 1, int(np.searchsorted(cumulated, num * 3 // 4, side="right")))
    return max(1.059 * min((at[third] - at[first]) / 1.34, sd) * num**-0.2, _MIN_BANDWIDTH)


@functools.cache
def _flat(size: int) -> np.ndarray:
    """The prior's kernel: centred, as wide as the grid."""
    return _kernels([(size - 1) / 2], size, size)


def _kernels(centres: Sequence[float] | np.ndarray, bandwidth: float, size: int) -> np.ndarray:
    """Mass of a normal distribution in each step of the grid, up to a factor: shape (centres, size)."""
    distances = np.abs(np.arange(size) - np.asarray(centres, dtype=float)[:, None])
    # The centres are all whole or all half-way between two steps, so few distances serve every kernel.
    part = float(distances[0, 0] % 1.0)
    scale = bandwidth * math.sqrt(2.0)
    edges = [math.erf((step + part - 0.5) / scale) for step in range(size + 1)]
    return np.diff(edges)[distances.astype(int)]
