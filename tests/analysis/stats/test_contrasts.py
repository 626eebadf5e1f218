"""Comparisons over shared seeds, against scipy, enumeration and worked examples; their coverage by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis.stats.contrasts import (
    EXACT_PAIRS,
    contrast,
    fewest_seeds,
    fieller,
    holm,
    paired_t_power,
    seeds_needed,
    share_of_gain,
    sign_flip_p,
)
from analysis.stats.intervals import t_interval

A = {101: 80.0, 102: 82.5, 103: 79.0, 104: 81.0}
B = {101: 84.0, 102: 85.0, 103: 84.5, 104: 83.0}


def test_a_contrast_is_the_paired_t_of_the_logarithms() -> None:
    found = contrast(A, B)
    assert found is not None
    expected = scipy.stats.ttest_rel(np.log(list(A.values())), np.log(list(B.values())))
    low, high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.mean == pytest.approx(math.log(80 * 82.5 * 79 * 81 / (84 * 85 * 84.5 * 83)) / 4)
    assert (found.num_pairs, found.seeds, found.reason) == (4, (101, 102, 103, 104), None)
    assert found.ratio == pytest.approx(math.exp(found.mean))
    assert found.ratio_low == pytest.approx(math.exp(low))
    assert found.level == pytest.approx((84 * 85 * 84.5 * 83) ** 0.25)
    assert found.difference == pytest.approx(found.level * (found.ratio - 1))
    assert found.p_value == 2 / 2**4


def test_only_common_seeds_are_pairs() -> None:
    found = contrast(A | {999: 1.0}, {**B, 998: 1000.0})
    assert found == contrast(A, B)
    assert contrast(A, {7: 80.0}) is None
    assert contrast({}, {}) is None


def test_swapping_the_sides_turns_the_sign() -> None:
    ab, ba = contrast(A, B), contrast(B, A)
    assert ab is not None
    assert ba is not None
    assert (ba.mean, ba.low, ba.high) == pytest.approx((-ab.mean, -ab.high, -ab.low))  # type: ignore[operator]
    assert ba.p_value == ab.p_value


def test_one_pair_has_no_interval() -> None:
    found = contrast({1: 80.0}, {1: 84.0})
    assert found is not None
    assert (found.low, found.p_value, found.equivalent, found.sd, found.num_pairs) == (None, None, None, None, 1)
    assert found.reason == "one seed says nothing about the spread between seeds"


def test_no_spread_has_no_interval() -> None:
    found = contrast({s: 80.0 * s for s in (1, 2, 3)}, {s: 84.0 * s for s in (1, 2, 3)})
    assert found is not None
    assert found.low is None
    assert "no spread" in str(found.reason)
    assert found.p_value == 2 / 2**3


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -3.0])
def test_a_perplexity_must_be_a_number(bad: float) -> None:
    with pytest.raises(ValueError, match="finite positive number, got"):
        contrast({1: bad, 2: 80.0}, {1: 80.0, 2: 80.0})


@pytest.mark.parametrize(
    ("spread", "shift", "expected"),
    [(0.2, 0.0, True), (0.2, 0.6, True), (0.2, -0.6, True), (0.2, 0.95, False), (0.2, 2.0, False), (3.0, 0.0, False)],
)
def test_equivalence_asks_for_the_whole_interval(spread: float, shift: float, expected: bool) -> None:
    wobble = dict(enumerate(spread * np.array([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0]), start=1))
    found = contrast({s: 90.0 + shift + w for s, w in wobble.items()}, dict.fromkeys(wobble, 90.0))
    assert found is not None
    assert found.equivalent is expected
    assert found.equivalent == (found.difference_low > -1.0 and found.difference_high < 1.0)  # type: ignore[operator]


def enumerated(differences: list[float]) -> float:
    """The sign-flip test as it is defined, in exact arithmetic where the differences are whole numbers."""
    observed = abs(sum(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    return sum(total >= observed for total in sums) / len(sums)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_the_sign_flip_test_goes_through_all_signs(differences: list[int]) -> None:
    assert sign_flip_p(differences) == pytest.approx(enumerated(list(differences)), abs=1e-12)


def test_ties_survive_rounding() -> None:
    # 0.1 + 0.2 - 0.3 is not quite zero in floating point: without a tolerance half of the sums would be missed.
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert sign_flip_p([0.3, 0.1, 0.2, 0.4]) == enumerated([3, 1, 2, 4])


def test_many_pairs_are_sampled_validly_and_reproducibly() -> None:
    differences = np.random.default_rng(5).normal(0.5, 1.0, size=EXACT_PAIRS + 5)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    z = abs(differences.sum()) / math.sqrt((differences**2).sum())
    assert p == pytest.approx(2 * scipy.stats.norm.sf(z), rel=0.1)  # the sum of many flips is nearly normal
    assert sign_flip_p(np.full(EXACT_PAIRS + 5, 1.0)) >= 1 / 100_000  # never zero


def test_no_difference_no_test() -> None:
    with pytest.raises(ValueError, match="at least one difference"):
        sign_flip_p([])
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


def test_holm_on_a_worked_example() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and no value below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_has_no_p_value_is_no_member_of_the_family() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]


def test_fewest_seeds() -> None:
    assert fewest_seeds(1) == 6
    assert fewest_seeds(6) == 8
    for m in (1, 3, 6, 12):
        n = fewest_seeds(m)
        smallest = holm([sign_flip_p([1.0] * n)] * m)[0]
        assert smallest is not None
        assert smallest < 0.05 <= m * 2 / 2 ** (n - 1)


def test_seeds_needed() -> None:
    # The standard example of power tables: a paired t test of half a standard deviation, 80 %, takes 34 pairs.
    assert seeds_needed(0.5, 1.0) == 34
    assert seeds_needed(-0.05, 0.1) == 34
    assert seeds_needed(0.2, 1.0) == 199
    for mean, sd in ((0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1e-6, 1.0)):
        assert seeds_needed(mean, sd) is None


def test_the_number_of_seeds_has_the_power_and_one_less_has_not() -> None:
    for mean, sd in ((0.02, 0.01), (0.01, 0.01), (0.005, 0.01), (0.5, 0.01), (0.0003, 0.01)):
        n = seeds_needed(mean, sd)
        assert n is not None
        assert paired_t_power(mean / sd, n) >= 0.8
        assert n == 2 or paired_t_power(mean / sd, n - 1) < 0.8


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


def test_the_share_of_a_gain_in_words() -> None:
    base = {seed: 72.6 for seed in range(6)}
    re, real = ({seed: ppl * (1 + 0.001 * (-1) ** seed) for seed in range(6)} for ppl in (69.0, 68.5))
    assert share_of_gain(base, re, real).startswith("RE's share of REAL's gain = 87% (")
    assert share_of_gain(base, re, {0: 68.0}) == ""
    unsure = {seed: 72.6 + 5 * (-1) ** seed + 0.5 for seed in range(6)}
    assert "no interval: REAL's gain may be zero" in share_of_gain(base, re, unsure)


@pytest.mark.slow
@pytest.mark.parametrize("num_pairs", [2, 3, 6])
def test_coverage_of_the_interval(num_pairs: int) -> None:
    """Over 4,000 simulated comparisons with a common part per seed; tolerance: four binomial standard errors."""
    rng, truth, covered, rejected = np.random.default_rng(11), -0.02, 0, 0
    for _ in range(repeats := 4_000):
        seed_effect = rng.normal(0.0, 0.02, size=num_pairs)
        a = np.exp(4.4 + truth + seed_effect + rng.normal(0.0, 0.004, size=num_pairs))
        b = np.exp(4.4 + seed_effect + rng.normal(0.0, 0.004, size=num_pairs))
        found = contrast(dict(enumerate(a)), dict(enumerate(b)))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
        null = contrast(dict(enumerate(a * math.exp(-truth))), dict(enumerate(b)))
        rejected += null is not None and null.p_value is not None and null.p_value < 0.05
    assert covered / repeats == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / repeats))
    level = 2 / 2**num_pairs if num_pairs >= 6 else 0.0  # the largest exact level below .05
    assert rejected / repeats == pytest.approx(level, abs=4 * math.sqrt(max(level, 1e-9) / repeats))


@pytest.mark.slow
def test_equivalence_is_rarely_claimed_on_the_margin() -> None:
    """Models exactly 1.0 apart: at most half of 1 - .95 of the verdicts may say equivalent."""
    rng, claimed = np.random.default_rng(12), 0
    for _ in range(repeats := 4_000):
        b = 80.0 * np.exp(rng.normal(0.0, 0.002, size=6))
        a = (b + 1.0) * np.exp(rng.normal(0.0, 0.002, size=6))
        found = contrast(dict(enumerate(a)), dict(enumerate(b)))
        claimed += found is not None and bool(found.equivalent)
    assert claimed / repeats == pytest.approx(0.025, abs=4 * math.sqrt(0.025 * 0.975 / repeats))
