"""The t-interval against numbers worked out by hand, and what it refuses."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis.stats.intervals import mean_perplexity, t_interval, t_quantile


@pytest.mark.parametrize(("confidence", "df"), [(0.0, 3), (1.0, 3), (math.nan, 3), (0.95, 0)])
def test_t_quantile_refuses(confidence: float, df: int) -> None:
    with pytest.raises(ValueError, match="must"):
        t_quantile(confidence, df)


def test_interval_by_hand() -> None:
    # ln: 4, 4.1, 4.3 -> mean 12.4/3, variance 0.07/3; for two degrees of freedom t = sqrt(2) p / sqrt(1 - p^2).
    found = mean_perplexity([math.exp(4.0), math.exp(4.1), math.exp(4.3)])
    margin = math.sqrt(2) * 0.95 / math.sqrt(1 - 0.95**2) * math.sqrt(0.07 / 3 / 3)
    assert found is not None
    assert found.mean == pytest.approx(math.exp(12.4 / 3), rel=1e-12)
    assert found.low == pytest.approx(math.exp(12.4 / 3 - margin), rel=1e-12)
    assert found.high == pytest.approx(math.exp(12.4 / 3 + margin), rel=1e-12)
    assert (found.num_seeds, found.reason) == (3, None)


def test_one_seed_has_no_interval_and_says_why() -> None:
    found = mean_perplexity([80.0])
    assert found is not None
    assert found.mean == pytest.approx(80.0)
    assert (found.low, found.high) == (None, None)
    assert "one seed" in str(found.reason)


def test_seeds_without_a_spread_have_no_interval_and_say_why() -> None:
    found = mean_perplexity([80.0, 80.0, 80.0])
    assert found is not None
    assert (found.low, found.high) == (None, None)
    assert "no spread" in str(found.reason)
    assert t_interval([0.1 + 0.2, 0.3]).sd == 0.0  # they differ by rounding alone


def test_no_seed_has_no_mean() -> None:
    assert mean_perplexity([]) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -3.0])
def test_a_perplexity_must_be_finite_and_positive(bad: float) -> None:
    with pytest.raises(ValueError, match="finite positive"):
        mean_perplexity([80.0, bad])


@given(st.lists(st.floats(2.0, 1e4), min_size=2, max_size=12), st.floats(0.5, 4.0))
def test_the_interval_scales_with_the_perplexity_and_holds_its_mean(values: list[float], factor: float) -> None:
    assume(max(values) > min(values) * 1.0001)
    one, other = mean_perplexity(values), mean_perplexity([factor * v for v in values])
    assert one is not None
    assert other is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low <= one.mean <= one.high
    assert other.low == pytest.approx(factor * one.low, rel=1e-9)
    assert other.high == pytest.approx(factor * one.high, rel=1e-9)
