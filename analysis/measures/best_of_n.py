"""The expected and the median best of n independent trials, from the random block.

Values are losses on the scale L = ln(perplexity), lower is better. TPE's trials depend on those before them: none of
this holds for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats

from analysis.records.studies import SettingStudy
from analysis.records.trials import diverged
from analysis.stats.intervals import CONFIDENCE
from trainables.recipes import CORPORA

ESTIMATORS = ("V", "U")


@dataclass(frozen=True, kw_only=True)
class RandomBlock:
    """The random block of a study as a sample of losses."""

    study: str
    trial_ids: tuple[str, ...]
    losses: np.ndarray
    """ln of each trial's best validation perplexity, in the order of ``trial_ids``."""
    device_h: np.ndarray
    """Device-hours of each trial."""
    num_diverged: int
    """Trials among them that diverged and count as ln(vocabulary size)."""
    num_left_out: int
    """Trials that have not ended, or failed for a reason that is not their configuration's."""


def random_block(study: SettingStudy) -> RandomBlock:
    """The trials of the random block that have run to their end.

    A trial whose loss stopped being finite counts as the uniform distribution, whose perplexity is the vocabulary's
    size: leaving it out would flatter the space. A trial that is unfinished, or that an error of the machine ended, is
    left out.
    """
    block = study.trials[study.trials["block"] == "random"].sort_values("trial_id")
    failed = diverged(block)
    ppl = block["best_valid_ppl"].astype(float)
    if study.setting.corpus not in CORPORA:
        failed &= False  # without a vocabulary there is no value for them
    worst = float(CORPORA[study.setting.corpus].vocab_size) if failed.any() else math.nan
    drawn = ((block["status"] == "complete") & np.isfinite(ppl)) | failed
    return RandomBlock(
        study=study.study,
        trial_ids=tuple(block.loc[drawn, "trial_id"]),
        losses=np.log(ppl.mask(failed, worst)[drawn].to_numpy(dtype=float)),
        device_h=block.loc[drawn, "device_s"].to_numpy(dtype=float) / 3600.0,
        num_diverged=int(failed.sum()),
        num_left_out=int((~drawn).sum()),
    )


def expected_best(values: Sequence[float] | np.ndarray, *, estimator: str = "V") -> np.ndarray:
    """The expected lowest of n draws for n = 1 to B, the number of values.

    With the values sorted, x_1 the lowest:

    * ``V`` (Dodge et al., 2019): draws with replacement, sum_i x_i [((B-i+1)/B)^n - ((B-i)/B)^n]. It is the exact
      expectation for the empirical distribution and too pessimistic for the true one.
    * ``U`` (Tang et al., 2020): draws without replacement, sum_i x_i C(B-i, n-1) / C(B, n): the mean over all
      subsets of n, unbiased for the true expectation.

    No interval comes with it: at n = B the estimate is one number, the lowest, and a bootstrap cannot see below it.

    Returns:
        Shape (B,); empty without values.

    Raises:
        ValueError: if the estimator is another, or a value is not finite.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
    x = _sorted(values)
    num, rank = len(x), np.arange(1, len(x) + 1)
    n = rank[:, None]
    if estimator == "V":
        weights = ((num - rank + 1) / num) ** n - ((num - rank) / num) ** n
    else:  # the first weight is n / B, and C(B-i-1, n-1) = C(B-i, n-1) (B-i-n+1) / (B-i)
        steps = np.maximum(0.0, 1.0 - (n - 1) / (num - rank + 1))
        weights = n / num * np.cumprod(np.where(rank == 1, 1.0, steps), axis=1)
    return weights @ x


def median_best(values: Sequence[float] | np.ndarray, n: int) -> float | None:
    """The median of the best of n draws: the quantile 1 - 2^(-1/n) of the values.

    Interpolated between the order statistics i / (B + 1); None where that quantile lies below the lowest of them.

    Raises:
        ValueError: if n is below 1, or a value is not finite.
    """
    x, level = _sorted(values), _median_level(n)
    position = level * (len(x) + 1) - 1
    if not 0 <= position <= len(x) - 1:
        return None
    return float(np.interp(position, np.arange(len(x)), x))


def median_best_bounds(values: Sequence[float] | np.ndarray, n: int) -> tuple[float, float] | None:
    """95 % bounds of the median of the best of n draws, exact whatever the distribution of the draws.

    That median is the quantile q = 1 - 2^(-1/n) of a single draw. Of B draws, Bin(B, q) fall below it, so two order
    statistics enclose it with a probability that is known; each tail has at most .025.

    Returns:
        (low, high), or None where the sample cannot carry them: a lower bound exists only if
        2^(-B/n) <= .025, which takes B >= 5.3 n.

    Raises:
        ValueError: if n is below 1, or a value is not finite.
    """
    x, q = _sorted(values), _median_level(n)
    tail, num = (1.0 - CONFIDENCE) / 2, len(x)
    at_most = scipy.stats.binom.cdf(np.arange(num + 1), num, q)
    # The lower bound x_l fails if fewer than l draws lie below the quantile, the upper x_u if u or more do.
    lower = [k for k in range(1, num + 1) if at_most[k - 1] <= tail]
    upper = [k for k in range(1, num + 1) if 1.0 - at_most[k - 1] <= tail]
    return (float(x[lower[-1] - 1]), float(x[upper[0] - 1])) if lower and upper else None


def expected_best_frame(block: RandomBlock) -> pd.DataFrame:
    """A row per number of trials n: ``n``, ``device_h`` (n times the mean of a trial), ``v_ppl``, ``u_ppl``,
    ``median_ppl``, ``median_low``, ``median_high``, all perplexities; the last three are missing where the sample
    cannot carry them."""
    rows = []
    v, u = (expected_best(block.losses, estimator=name) for name in ESTIMATORS)
    for n in range(1, len(block.losses) + 1):
        median, bounds = median_best(block.losses, n), median_best_bounds(block.losses, n)
        rows.append(
            {
                "n": n,
                "device_h": n * float(block.device_h.mean()),
                "v_ppl": math.exp(v[n - 1]),
                "u_ppl": math.exp(u[n - 1]),
                "median_ppl": math.nan if median is None else math.exp(median),
                "median_low": math.exp(bounds[0]) if bounds else math.nan,
                "median_high": math.exp(bounds[1]) if bounds else math.nan,
            }
        )
    columns = ["n", "device_h", "v_ppl", "u_ppl", "median_ppl", "median_low", "median_high"]
    return pd.DataFrame(rows, columns=columns)


def _median_level(n: int) -> float:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n!r}")
    return 1.0 - 2.0 ** (-1.0 / n)


def _sorted(values: Sequence[float] | np.ndarray) -> np.ndarray:
    x = np.sort(np.asarray(values, dtype=float))
    if not np.isfinite(x).all():
        raise ValueError("losses must be finite: a trial that diverged takes the value of the uniform distribution")
    return x
