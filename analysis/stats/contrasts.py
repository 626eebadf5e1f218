"""Two configurations compared over the seeds they share, on the scale L = ln(perplexity).

A seed fixes the weights' start and the dropout masks' draws, so trials of the same seed are a pair and only the
differences within pairs count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.intervals import CONFIDENCE, LogRatio, t_interval, t_quantile

MARGIN_PPL = 1.0
"""Two models closer than this are equivalent: Melis et al. (2018) call a gap of 1.0 perplexity robust."""
EXACT_PAIRS = 20
"""Up to this many pairs all 2^n sign vectors are gone through; above it a fixed sample of them is."""
_NUM_SAMPLED = 99_999
_MAX_SEEDS = 10_000


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
    confidence: float = CONFIDENCE

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


def contrast(
    a: Mapping[int, float], b: Mapping[int, float], *, confidence: float = CONFIDENCE, margin: float = MARGIN_PPL
) -> Contrast | None:
    """Compares a with b over the seeds that both have; None without one.

    The interval is Student's for the mean difference. Two models count as equivalent if the interval of their
    difference in perplexity lies inside +-``margin``: two one-sided tests, each at half of 1 - ``confidence``.

    Args:
        a: seed -> perplexity.
        b: seed -> perplexity.
        confidence: of the interval.
        margin: of equivalence, in perplexity.

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
        equivalent = -margin < level * math.expm1(low) and level * math.expm1(high) < margin
    return Contrast(
        mean=mean, low=low, high=high, p_value=sign_flip_p(differences) if len(seeds) > 1 else None,
        num_pairs=len(seeds), reason=reason, equivalent=equivalent, sd=sd, level=level, seeds=tuple(seeds),
        confidence=confidence,
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
    """Holm's (1979) adjusted p-values of one family of tests; None stays None and is no member of the family."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        adjusted[i] = running
    return adjusted


def fewest_seeds(num_comparisons: int, *, alpha: float = 0.05) -> int:
    """The seeds from which on the sign-flip test, adjusted by Holm over so many comparisons, can reach p < ``alpha``.

    Its smallest p-value is 2 / 2^n, and Holm multiplies the smallest of m by m.
    """
    return next(n for n in range(1, 64) if num_comparisons * 2.0 / 2**n < alpha)


def seeds_needed(mean: float, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many seeds a two-sided paired t test needs to find a true difference of ``mean`` with this power.

    A guess, as good as ``mean`` and ``sd`` are: both come from the few pairs at hand. The sign-flip test needs about
    as many, and never fewer than six for p < .05.

    Returns:
        The number of seeds in all, not more than those at hand; None if no number up to 10,000 will do, or if there
        is no difference or no spread to plan with.

    Raises:
        ValueError: if ``power`` or ``alpha`` is not inside (0, 1), or ``sd`` is negative.
    """
    for name, value in (("power", power), ("alpha", alpha)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie inside (0, 1), got {value!r}")
    if sd < 0:
        raise ValueError(f"sd must not be negative, got {sd!r}")
    if not (math.isfinite(mean) and math.isfinite(sd)) or mean == 0 or sd == 0:
        return None
    effect = abs(mean) / sd
    low, high = 1, 2  # the power is too low at ``low``, unknown at ``high``
    while paired_t_power(effect, high, alpha=alpha) < power:
        if high >= _MAX_SEEDS:
            return None
        low, high = high, min(2 * high, _MAX_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if paired_t_power(effect, middle, alpha=alpha) < power else (low, middle)
    return high


def paired_t_power(effect: float, num_pairs: int, *, alpha: float = 0.05) -> float:
    """Power of the two-sided paired t test: the chance of p < ``alpha`` if the true mean is ``effect`` sd.

    P(|T| > t) for the noncentral T = (Z + effect sqrt(n)) / S with S^2 = chi^2 / df: given S it is a normal
    probability, and over S, whose density is known, it is summed up on a fine grid.
    """
    df = num_pairs - 1
    critical, shift = t_quantile(1.0 - alpha, df), effect * math.sqrt(num_pairs)
    # S has mean near 1 and standard deviation near 1 / sqrt(2 df); beyond ten of them nothing is left.
    width = 10.0 / math.sqrt(2 * df)
    ends = np.linspace(max(0.0, 1.0 - width), 1.0 + width, 4001)
    s = (ends[1:] + ends[:-1]) / 2
    log_density = (df - 1) * np.log(s) - df * s * s / 2
    weights = np.exp(log_density - log_density.max())
    normal = np.array([_normal_cdf(shift - critical * x) + _normal_cdf(-shift - critical * x) for x in s])
    return float((weights * normal).sum() / weights.sum())


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
