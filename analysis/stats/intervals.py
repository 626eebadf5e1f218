"""Means and t-intervals over seeds on the scale L = ln(perplexity); perplexity is only for display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import scipy.special

CONFIDENCE = 0.95


def t_quantile(confidence: float, df: float) -> float:
    """The two-sided quantile of Student's t: the t for which P(|T| <= t) = ``confidence``.

    Raises:
        ValueError: if ``confidence`` is not inside (0, 1), or ``df`` is below 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie inside (0, 1), got {confidence!r}")
    if df < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {df!r}")
    return float(scipy.special.stdtrit(df, (1.0 + confidence) / 2))


class MeanInterval(NamedTuple):
    """A mean and its t-interval."""

    mean: float
    sd: float | None
    """Standard deviation of the values, None for one alone."""
    low: float | None
    high: float | None
    reason: str | None
    """Why there is no interval: one value, or no spread between the values."""


def t_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> MeanInterval:
    """Student's interval of the mean of values that are one per seed.

    Raises:
        ValueError: if there are no values, or ``confidence`` is not inside (0, 1).
    """
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value, got none")
    mean = math.fsum(values) / n
    if n == 1:
        return MeanInterval(mean, None, None, None, "one seed says nothing about the spread between seeds")
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    if sd <= 1e-12 * max(1.0, *map(abs, values)):  # rounding, no spread
        return MeanInterval(mean, 0.0, None, None, "all seeds give the same value: there is no spread to reckon with")
    margin = t_quantile(confidence, n - 1) * sd / math.sqrt(n)
    return MeanInterval(mean, sd, mean - margin, mean + margin, None)


@dataclass(frozen=True, kw_only=True)
class MeanPerplexity:
    """The mean over seeds of ln(perplexity) and its t-interval, both turned back into perplexities."""

    mean: float
    """exp of the mean of ln(perplexity): the geometric mean."""
    low: float | None
    high: float | None
    """Ends of the interval, None if there is none."""
    num_seeds: int
    reason: str | None = None
    """Why there is no interval."""


def mean_perplexity(perplexities: Sequence[float]) -> MeanPerplexity | None:
    """Mean and t-interval over seeds, on the scale of ln(perplexity); None without a seed.

    Args:
        perplexities: one per seed, finite and positive.

    Raises:
        ValueError: if a perplexity is not a finite positive number.
    """
    for value in perplexities:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"a perplexity must be a finite positive number, got {value!r}")
    if not len(perplexities):
        return None
    mean, _, low, high, reason = t_interval([math.log(value) for value in perplexities])
    return MeanPerplexity(
        mean=math.exp(mean), low=None if low is None else math.exp(low), high=None if high is None else math.exp(high),
        num_seeds=len(perplexities), reason=reason,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LogRatio:
    """A mean of differences of ln(perplexity), and the ratio of perplexities that it stands for."""

    mean: float
    low: float | None
    """Ends of the t-interval, None if there is none."""
    high: float | None

    @property
    def ratio(self) -> float:
        """The mean as a ratio of perplexities."""
        return math.exp(self.mean)

    @property
    def ratio_low(self) -> float | None:
        """Lower end of the ratio's interval."""
        return None if self.low is None else math.exp(self.low)

    @property
    def ratio_high(self) -> float | None:
        """Upper end of the ratio's interval."""
        return None if self.high is None else math.exp(self.high)
