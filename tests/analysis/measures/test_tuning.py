"""Tuning gain, tuning debt and winner's curse by hand, and their intervals' coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis.measures.tuning import search_value, tuning_debt, tuning_gain, winners_curse
from analysis.records.load import empty_frame
from analysis.records.studies import SettingStudy
from tests.support.frames import SETTING, confirmed, only_study
from tests.support.memory import Row, trial

RECIPE, TUNED = [90.0, 92.0, 91.0], [81.0, 84.0, 82.0]
STUDY = [
    trial(SETTING, "default-0000", 93.0),
    trial(SETTING, "tpe-0001", 79.0),
    trial(SETTING, "tpe-0002", 85.0),
    *confirmed(SETTING, "paper", RECIPE, tests=[88.0, 89.0, 90.0]),
    *confirmed(SETTING, "tpe-0001", TUNED, tests=[80.0, 81.0, 79.0]),
]


def test_the_gain_is_tuned_over_recipe() -> None:
    study = only_study(STUDY)
    for split, tuned, recipe in (("valid", TUNED, RECIPE), ("test", [80.0, 81.0, 79.0], [88.0, 89.0, 90.0])):
        gain = tuning_gain(study, split)
        assert gain is not None
        assert gain.mean == pytest.approx(np.mean(np.log(tuned) - np.log(recipe)))
        assert gain.num_pairs == 3


def test_a_recipe_that_won_has_nothing_to_gain() -> None:
    study = only_study([trial(SETTING, "default-0000", 70.0), *STUDY[1:]])
    assert tuning_gain(study, "valid") is None
    curse = winners_curse(study)
    assert curse is not None
    assert curse.mean == pytest.approx(np.mean(np.log(RECIPE)) - math.log(70.0))
    assert search_value(study, "paper") == ("default-0000", 70.0)


def test_without_fresh_seeds_there_is_nothing_to_say() -> None:
    study = only_study(STUDY[:3])
    assert tuning_gain(study, "test") is None
    assert winners_curse(study) is None
    assert search_value(study, "tpe-0009") is None


def test_the_winners_curse_is_fresh_seeds_over_the_search_value() -> None:
    found = winners_curse(only_study(STUDY))
    assert found is not None
    losses = np.log(TUNED) - math.log(79.0)
    low, high = scipy.stats.t.interval(0.95, 2, loc=losses.mean(), scale=scipy.stats.sem(losses))
    assert (found.mean, found.low, found.high) == pytest.approx((losses.mean(), low, high), rel=1e-9)
    assert found.ratio == pytest.approx(math.exp(losses.mean()))
    assert (found.seeds, found.p_value) == ((101, 102, 103), None)


def test_the_winners_curse_compares_like_with_like() -> None:
    """The search has no single-stream value: that of the fresh seeds must not be used."""
    rows = [trial(SETTING, "tpe-0001", 80.0), *confirmed(SETTING, "tpe-0001", [84.0, 84.0, 84.0])]
    for row in rows[1:]:
        row["single_stream_valid_ppl"] = 50.0
    found = winners_curse(only_study(rows))
    assert found is not None
    assert found.ratio == pytest.approx(84 / 80)
    assert found.reason is not None  # no spread between the seeds


def test_the_debt_by_hand() -> None:
    a_recipe, b_recipe = {1: 80.0, 2: 81.0, 3: 82.0}, {1: 100.0, 2: 101.0, 3: 99.0}
    a_tuned, b_tuned = {1: 78.0, 2: 79.0, 3: 78.5, 4: 1.0}, {1: 82.0, 2: 81.0, 3: 83.0}
    found = tuning_debt(a_recipe, b_recipe, a_tuned, b_tuned)
    assert found is not None
    per_seed = [
        math.log(a_recipe[s] / b_recipe[s]) - math.log(a_tuned[s] / b_tuned[s]) for s in (1, 2, 3)
    ]  # negative: the recipe flatters a
    assert found.mean == pytest.approx(np.mean(per_seed))
    assert found.mean < -0.1
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(per_seed), scale=scipy.stats.sem(per_seed))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert (found.seeds, found.p_value) == ((1, 2, 3), 2 / 2**3)
    turned = tuning_debt(b_recipe, a_recipe, b_tuned, a_tuned)
    assert turned is not None
    assert turned.mean == pytest.approx(-found.mean)


def test_a_debt_needs_a_seed_that_all_four_share() -> None:
    one = {1: 80.0}
    assert tuning_debt(one, one, one, {2: 80.0}) is None
    found = tuning_debt(one, one, one, one)
    assert found is not None
    assert (found.low, found.p_value, found.reason) == (
        None, None, "one seed says nothing about the spread between seeds",
    )  # fmt: skip
    with pytest.raises(ValueError, match="finite positive number, got inf"):
        tuning_debt(one, one, one, {1: math.inf})


@pytest.mark.slow
def test_coverage_of_the_debts_interval() -> None:
    """3,000 simulated debts of .03, six seeds; tolerance: four binomial standard errors."""
    rng, truth, covered = np.random.default_rng(31), -0.03, 0
    for _ in range(repeats := 3_000):
        seed_effect = rng.normal(0.0, 0.01, size=6)
        logs = 4.4 + seed_effect + rng.normal(0.0, 0.004, size=(4, 6))
        logs[0] += truth
        found = tuning_debt(*(dict(enumerate(np.exp(row))) for row in logs))
        assert found is not None
        covered += found.low <= truth <= found.high  # type: ignore[operator]
    assert covered / repeats == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / repeats))


@pytest.mark.slow
def test_the_winners_curse_is_found_and_its_interval_covers() -> None:
    """A search over 20 equal configurations: the winner's own value lies low, its fresh seeds do not.

    The interval is for the true level of the winner over the value that was selected. 600 repeats; tolerances: four
    standard errors.
    """
    rng, noise, covered, means = np.random.default_rng(32), 0.01, 0, []
    losses = rng.normal(4.4, noise, size=(600, 20)).min(axis=1)
    fresh = rng.normal(4.4, noise, size=(600, 6))
    for value, seeds in zip(losses, fresh, strict=True):
        rows = [trial(SETTING, "tpe-0001", math.exp(value)), *confirmed(SETTING, "tpe-0001", list(np.exp(seeds)))]
        found = winners_curse(bare_study(rows))
        assert found is not None
        covered += found.low <= 4.4 - value <= found.high  # type: ignore[operator]
        means.append(found.mean)
    # The expected lowest of 20 standard normals is -1.867, its standard deviation .525.
    assert np.mean(means) == pytest.approx(1.867 * noise, abs=4 * noise * math.hypot(0.525, 6**-0.5) / math.sqrt(600))
    assert covered / 600 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 600))


def bare_study(rows: list[Row]) -> SettingStudy:
    """A study with the few columns that are looked at: a whole record takes ten times as long to make."""
    columns = ["study", "trial_id", "block", "origin", "status", "seed", "best_valid_ppl"]
    frame = pd.DataFrame([{column: row.get(column) for column in columns} for row in rows])
    return SettingStudy(setting=SETTING, study="s", trials=frame, evaluations=empty_frame("evaluations"), num_seeds=6)
