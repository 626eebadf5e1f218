"""Configurations compared over the seeds they share, on the scale L = ln(perplexity).

A seed fixes the weights' start and the dropout masks' draws, so trials of the same seed are a pair and only the
differences within pairs count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats

from analysis.stats.intervals import CONFIDENCE, LogRatio, t_interval, t_quantile

MARGIN_PPL = 1.0
"""Two models closer than this are equivalent: Melis et al. (2018) call a gap of 1.0 perplexity robust."""
EXACT_PAIRS = 20
"""Most pairs for which all 2^n sign vectors are enumerated; of more pairs a fixed random sample is."""
_NUM_SAMPLED = 99_999
_MAX_SEEDS, _POWER = 10_000, 0.8


@dataclass(frozen=True, kw_only=True)
class Contrast(LogRatio):
    """The mean over pairs of ln(ppl of a) - ln(ppl of b); negative where a is better."""

    p_value: float | None
    """Of the two-sided sign-flip test of "a and b do not differ"; None below two pairs."""
    num_pairs: int
    reason: str | None
    """Why there is no interval."""
    equivalent: bool | None
    """Whether the interval of the difference in perplexity lies inside -``MARGIN_PPL`` to ``MARGIN_PPL``; None
    without an interval."""
    sd: float | None = None
    """Standard deviation of the differences between pairs; None below two pairs."""
    level: float | None = None
    """Perplexity of b: the geometric mean over the pairs."""
    seeds: tuple[int, ...] = ()
    """The seeds that both have."""

    @property
    def difference(self) -> float | None:
        """In perplexity, at the level of b: level (ratio - 1)."""
        return self._at_level(self.mean)

    @property
    def difference_low(self) -> float | None:
        """Lower end of the difference's interval."""
        return self._at_level(self.low)

    @property
    def difference_high(self) -> float | None:
        """Upper end of the difference's interval."""
        return self._at_level(self.high)

    def _at_level(self, value: float | None) -> float | None:
        return None if value is None or self.level is None else self.level * math.expm1(value)


def contrast(a: Mapping[int, float], b: Mapping[int, float], *, confidence: float = CONFIDENCE) -> Contrast | None:
    """Compares a with b over the seeds that both have; None without one.

    The interval is Student's for the mean difference. Two models count as equivalent if the interval of their
    difference in perplexity lies inside +-``MARGIN_PPL``: two one-sided tests, each at half of 1 - ``confidence``.

    Args:
        a: seed -> perplexity.
        b: seed -> perplexity.
        confidence: of the interval.

    Raises:
        ValueError: if a perplexity is not a finite positive number, or ``confidence`` is not inside (0, 1).
    """
    seeds = sorted(set(a) & set(b))
    for value in (one[seed] for one in (a, b) for seed in seeds):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"a perplexity must be a finite positive number, got {value!r}")
    if not seeds:
        return None
    differences = [math.log(a[seed]) - math.log(b[seed]) for seed in seeds]
    level = math.exp(math.fsum(math.log(b[seed]) for seed in seeds) / len(seeds))
    mean, sd, low, high, reason = t_interval(differences, confidence=confidence)
    equivalent = None
    if low is not None and high is not None:
        equivalent = level * math.expm1(low) > -MARGIN_PPL and level * math.expm1(high) < MARGIN_PPL
    return Contrast(
        mean=mean, low=low, high=high, p_value=sign_flip_p(differences) if len(seeds) > 1 else None,
        num_pairs=len(seeds), reason=reason, equivalent=equivalent, sd=sd, level=level, seeds=tuple(seeds),
    )  # fmt: skip


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of the sign-flip (Fisher-Pitman) test that the differences are symmetric about zero.

    The share of sign vectors whose sum is at least as far from zero as the one observed: all 2^n of them up to
    ``EXACT_PAIRS`` pairs, which makes the test exact. Above, 99,999 of them are drawn with a fixed seed and the
    observed one is counted with them, which keeps the test valid (Phipson and Smyth, 2010). With n pairs no p-value
    is below 2 / 2^n: from six pairs on, p < .05 can be reached.

    Raises:
        ValueError: if there are no differences.
    """
    values = np.asarray(differences, dtype=float)
    if not len(values):
        raise ValueError("the test needs at least one difference, got none")
    observed = abs(values.sum()) - 1e-12 * np.abs(values).sum()  # sums that tie but for rounding are ties
    if len(values) <= EXACT_PAIRS:
        sums = values[:1]  # the first sign stays: flipping all signs changes no distance from zero
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed))
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 2, size=(_NUM_SAMPLED, len(values)), dtype=np.int8) * 2 - 1
    return float((1 + np.sum(np.abs(signs @ values) >= observed)) / (1 + _NUM_SAMPLED))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p-values of one family of tests; None stays None and does not count."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        adjusted[i] = running
    return adjusted


def fewest_seeds(num_comparisons: int, *, alpha: float = 0.05) -> int:
    """The fewest seeds n for p < ``alpha`` in the sign-flip test, with Holm for m comparisons: m 2 / 2^n < alpha."""
    return next(n for n in range(1, 64) if num_comparisons * 2.0 / 2**n < alpha)


def seeds_needed(mean: float, sd: float, *, alpha: float = 0.05) -> int | None:
    """The number of seeds with which a two-sided paired t test finds a true difference of ``mean`` with power .8.

    As rough as ``mean`` and ``sd``, which come from few pairs. The sign-flip test needs about as many, and never fewer
    than six for p < .05.

    Returns:
        The total number of seeds; None if 10,000 are too few, or if there is no difference or no spread.
    """
    if not (math.isfinite(mean) and math.isfinite(sd)) or mean == 0 or sd == 0:
        return None
    effect = abs(mean) / sd

    def lacking(num_pairs: float) -> float:
        return _POWER - paired_t_power(effect, num_pairs, alpha=alpha)

    if lacking(_MAX_SEEDS) > 0:
        return None
    return 2 if lacking(2) <= 0 else math.ceil(scipy.optimize.brentq(lacking, 2, _MAX_SEEDS))


def paired_t_power(effect: float, num_pairs: float, *, alpha: float = 0.05) -> float:
    """Power of the two-sided paired t test: the chance of p < ``alpha`` if the true mean is ``effect`` sd.

    P(|T| > t) for the noncentral T with ``num_pairs`` - 1 degrees of freedom and shift effect sqrt(num_pairs).
    """
    df, shift = num_pairs - 1, abs(effect) * math.sqrt(num_pairs)
    critical = t_quantile(1.0 - alpha, df)
    near = scipy.stats.nct.sf(critical, df, shift)
    # scipy gives NaN for the other tail where it vanishes.
    far = np.nan_to_num(scipy.stats.nct.cdf(-critical, df, shift))
    return float(near + far)


def share_of_gain(base: Mapping[int, float], re: Mapping[int, float], real: Mapping[int, float]) -> str:
    """RE's share of REAL's gain over the baseline, on ln(perplexity) over the seeds that all have, in words.

    Args:
        base: seed -> perplexity of the baseline.
        re: seed -> perplexity of RE.
        real: seed -> perplexity of REAL.
    """
    seeds = sorted(set(base) & set(re) & set(real))
    found = fieller([math.log(base[s] / re[s]) for s in seeds], [math.log(base[s] / real[s]) for s in seeds])
    if found is None:
        return ""
    share, low, high = found
    if low is None or high is None:
        return f"RE's share of REAL's gain = {share:.0%} (no interval: REAL's gain may be zero)"
    return f"RE's share of REAL's gain = {share:.0%} ({low:.0%} to {high:.0%}), {len(seeds)} seeds"


def fieller(u: Sequence[float], v: Sequence[float]) -> tuple[float, float | None, float | None] | None:
    """mean(u) / mean(v) of pairs and Fieller's (1954) 95 % interval: all theta for which mean(u - theta v) may be zero.

    Args:
        u: shape (pairs,).
        v: shape (pairs,).

    Returns:
        The ratio and the interval's ends, which are None where the interval is not bounded, since the mean of v may be
        zero; None below two pairs, or if the mean of v is zero.
    """
    n = len(u)
    if n < 2 or not math.fsum(v):
        return None
    (mean_u, sd_u, *_), (mean_v, sd_v, *_) = t_interval(u), t_interval(v)
    covariance = math.fsum((x - mean_u) * (y - mean_v) for x, y in zip(u, v, strict=True)) / (n - 1)
    t2 = t_quantile(CONFIDENCE, n - 1) ** 2 / n
    # The theta with (mean_u - theta mean_v)^2 <= t^2 var(u - theta v) / n solve a theta^2 - 2 b theta + c <= 0.
    a = mean_v**2 - t2 * (sd_v or 0.0) ** 2
    b = mean_u * mean_v - t2 * covariance
    c = mean_u**2 - t2 * (sd_u or 0.0) ** 2
    if a <= 0:
        return mean_u / mean_v, None, None
    root = math.sqrt(max(0.0, b * b - a * c))
    return mean_u / mean_v, (b - root) / a, (b + root) / a
