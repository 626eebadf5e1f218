"""Which part of one gain another makes up: a ratio of paired means and its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analysis.stats.contrasts import t_interval
from analysis.stats.intervals import CONFIDENCE, t_quantile


def share_of_gain(base: Mapping[int, float], re: Mapping[int, float], real: Mapping[int, float]) -> str:
    """RE's share of REAL's gain over the baseline, on ln(perplexity) over the seeds that all have, in words.

    Args:
        base: seed -> perplexity of the baseline, and so are the others.
        re: of RE.
        real: of REAL.
    """
    seeds = sorted(set(base) & set(re) & set(real))
    found = fieller([math.log(base[s] / re[s]) for s in seeds], [math.log(base[s] / real[s]) for s in seeds])
    if found is None:
        return ""
    share, low, high = found
    if low is None or high is None:
        return f"RE's share of REAL's gain = {share:.0%} (no interval: REAL's gain may be zero)"
    return f"RE's share of REAL's gain = {share:.0%} ({low:.0%} to {high:.0%}), {len(seeds)} seeds"


def fieller(
    u: Sequence[float], v: Sequence[float], *, confidence: float = CONFIDENCE
) -> tuple[float, float | None, float | None] | None:
    """mean(u) / mean(v) of pairs and Fieller's (1954) interval: all theta for which mean(u - theta v) may be zero.

    Args:
        u: shape (pairs,).
        v: shape (pairs,).
        confidence: of the interval.

    Returns:
        The ratio and the interval's ends, which are None where the interval is not bounded, since the mean of v may be
        zero; None below two pairs, or if the mean of v is zero.
    """
    n = len(u)
    if n < 2 or not math.fsum(v):
        return None
    (mean_u, sd_u, *_), (mean_v, sd_v, *_) = t_interval(u), t_interval(v)
    covariance = math.fsum((x - mean_u) * (y - mean_v) for x, y in zip(u, v, strict=True)) / (n - 1)
    t2 = t_quantile(confidence, n - 1) ** 2 / n
    # The theta with (mean_u - theta mean_v)^2 <= t^2 var(u - theta v) / n solve a theta^2 - 2 b theta + c <= 0.
    a = mean_v**2 - t2 * (sd_v or 0.0) ** 2
    b = mean_u * mean_v - t2 * covariance
    c = mean_u**2 - t2 * (sd_u or 0.0) ** 2
    if a <= 0:
        return mean_u / mean_v, None, None
    root = math.sqrt(max(0.0, b * b - a * c))
    return mean_u / mean_v, (b - root) / a, (b + root) / a
