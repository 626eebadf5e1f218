"""The share of one gain in another, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats.share import fieller, share_of_gain


def test_fiellers_interval_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    u, v = list(rng.normal(2.0, 0.5, 8)), list(rng.normal(4.0, 0.5, 8))
    found = fieller(u, v)
    assert found is not None
    ratio, low, high = found
    assert ratio == pytest.approx(np.mean(u) / np.mean(v))
    for end in (low, high):  # where the mean of u - theta v is just significant
        assert end is not None
        d = np.array(u) - end * np.array(v)
        t = d.mean() / (d.std(ddof=1) / math.sqrt(8))
        assert abs(t) == pytest.approx(2.364624, rel=1e-5)
    assert fieller([1.0, 2.0], [1.0, -0.9]) == (pytest.approx(30.0), None, None)
    assert fieller([1.0], [2.0]) is None


@pytest.mark.slow
def test_the_interval_covers_the_truth() -> None:
    """A true share of .8 with six seeds and a gain of about three standard deviations: 95 of 100."""
    rng, covered, num = np.random.default_rng(1), 0, 2000
    for _ in range(num):
        common = rng.normal(0.0, 0.01, 6)
        u, v = 0.04 + common + rng.normal(0.0, 0.01, 6), 0.05 + common + rng.normal(0.0, 0.01, 6)
        found = fieller(list(u), list(v))
        assert found is not None
        _, low, high = found
        covered += low is None or high is None or low <= 0.8 <= high
    assert 0.935 <= covered / num <= 0.965


def test_in_words() -> None:
    base = {seed: 72.6 for seed in range(6)}
    re, real = ({seed: ppl * (1 + 0.001 * (-1) ** seed) for seed in range(6)} for ppl in (69.0, 68.5))
    assert share_of_gain(base, re, real).startswith("RE's share of REAL's gain = 87% (")
    assert share_of_gain(base, re, {0: 68.0}) == ""
    unsure = {seed: 72.6 + 5 * (-1) ** seed + 0.5 for seed in range(6)}
    assert "no interval: REAL's gain may be zero" in share_of_gain(base, re, unsure)
