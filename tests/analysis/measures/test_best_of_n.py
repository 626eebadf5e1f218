"""Expected best of n against enumeration and simulation; exact bounds of its median."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis.measures.best_of_n import (
    expected_best,
    expected_best_frame,
    median_best,
    median_best_bounds,
    random_block,
)
from study.records.records import Setting
from tests.support.frames import SETTING, only_study
from tests.support.memory import trial
from trainables.recipes import CORPORA

SAMPLES = st.lists(st.floats(3.0, 7.0), min_size=1, max_size=6)


@given(SAMPLES)
def test_both_estimators_are_means_of_minima(values: list[float]) -> None:
    u, v = (expected_best(values, estimator=name) for name in "UV")
    for n in range(1, len(values) + 1):
        subsets = [min(s) for s in itertools.combinations(values, n)]
        assert u[n - 1] == pytest.approx(np.mean(subsets))
        if len(values) ** n <= 4096:
            draws = [min(s) for s in itertools.product(values, repeat=n)]
            assert v[n - 1] == pytest.approx(np.mean(draws))


def test_by_hand() -> None:
    # Pairs of 1, 2, 4: minima 1, 1, 2. Nine ordered draws: 1 in five, 2 in three, 4 in one.
    assert expected_best([4.0, 1.0, 2.0], estimator="U") == pytest.approx([7 / 3, 4 / 3, 1.0])
    assert expected_best([4.0, 1.0, 2.0], estimator="V")[:2] == pytest.approx([7 / 3, 15 / 9])
    assert expected_best([]).shape == (0,)


def test_v_is_the_default_and_never_below_u() -> None:
    values = np.random.default_rng(0).normal(size=20)
    v, u = expected_best(values), expected_best(values, estimator="U")
    assert np.array_equal(v, expected_best(values, estimator="V"))
    assert (v >= u - 1e-12).all()
    assert u[-1] == values.min() < v[-1]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="estimator must be one of V, U, got 'W'"):
        expected_best([1.0], estimator="W")
    with pytest.raises(ValueError, match="must be finite"):
        expected_best([1.0, math.inf])
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        median_best_bounds([1.0], 0)


def test_the_bounds_are_the_order_statistics_of_the_binomial() -> None:
    values = np.arange(1.0, 41.0)
    for n in (1, 2, 5, 7):
        q, found = 1 - 2 ** (-1 / n), median_best_bounds(values, n)
        assert found is not None
        low, high = (int(x) for x in found)  # the values are their own ranks
        binomial = scipy.stats.binom(40, q)
        assert binomial.cdf(low - 1) <= 0.025 < binomial.cdf(low)
        assert binomial.sf(high - 1) <= 0.025 < binomial.sf(high - 2)


def test_the_best_of_one_is_the_sign_tests_interval() -> None:
    # The table value for the median of ten values: second and ninth, confidence 97.9 %.
    assert median_best_bounds(np.arange(1.0, 11.0), 1) == (2.0, 9.0)
    assert median_best(np.arange(1.0, 11.0), 1) == 5.5


def test_a_sample_that_cannot_carry_bounds_has_none() -> None:
    values = np.random.default_rng(1).normal(size=20)
    assert median_best_bounds(values, 3) is not None
    assert median_best_bounds(values, 4) is None  # 2^(-20/4) = .031 > .025
    assert median_best_bounds(values, 20) is None
    assert median_best_bounds([], 1) is None
    assert median_best(values, 20) is None
    assert median_best([1.0], 2) is None


def test_the_random_block_alone_counts() -> None:
    study = only_study(
        [
            trial(SETTING, "default-0000", 50.0),
            trial(SETTING, "random-0002", 120.0, device_s=7200.0),
            trial(SETTING, "random-0001", 110.0, device_s=1800.0),
            trial(SETTING, "random-0003", None, status="failed", stopped_by="non_finite_loss"),
            trial(SETTING, "random-0004", 130.0, status="failed", stopped_by="non_finite_loss"),
            trial(SETTING, "random-0005", 100.0, status="failed", stopped_by="error"),
            trial(SETTING, "random-0006", 100.0, status="interrupted"),
            trial(SETTING, "tpe-0007", 60.0),
        ]
    )
    block = random_block(study)
    assert block.trial_ids == ("random-0001", "random-0002", "random-0003", "random-0004")
    vocab_size = CORPORA["toy"].vocab_size
    assert np.exp(block.losses) == pytest.approx([110.0, 120.0, vocab_size, vocab_size])
    assert list(block.device_h) == [0.5, 2.0, 0.01, 0.01]
    assert (block.num_diverged, block.num_left_out) == (2, 2)


def test_the_frame_of_a_curve() -> None:
    study = only_study([trial(SETTING, f"random-{i:04d}", 100.0 + i) for i in range(1, 21)])
    frame = expected_best_frame(random_block(study))
    assert list(frame["n"]) == list(range(1, 21))
    assert list(frame["device_h"]) == pytest.approx([0.01 * n for n in range(1, 21)])
    assert frame["u_ppl"].iloc[-1] == pytest.approx(101.0)
    assert frame["median_low"].notna().tolist() == [n <= 3 for n in range(1, 21)]
    first = frame.iloc[0]
    assert first["median_low"] <= first["median_ppl"] <= first["median_high"]
    assert expected_best_frame(random_block(only_study([trial(SETTING, "tpe-0001", 9.0)]))).empty


def test_an_unknown_corpus_has_no_value_for_what_diverged() -> None:
    setting = Setting("news", "tiny", "real")
    rows = [
        trial(SETTING, "random-0001", 90.0, corpus=setting.corpus),
        trial(SETTING, "random-0002", None, status="failed", stopped_by="non_finite_loss", corpus=setting.corpus),
    ]
    block = random_block(only_study(rows, setting))
    assert (block.trial_ids, block.num_left_out) == (("random-0001",), 1)
