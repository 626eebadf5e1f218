"""The tables about the search, by hand."""

from __future__ import annotations

import math

import pytest

from analysis.measures.best_of_n import expected_best
from analysis.records.sources import trial_keys
from analysis.tables.search import search, tuning
from analysis.tables.table import Row, Table
from study.records.records import Setting
from tests.support.frames import confirmed
from tests.support.memory import name_of, results, trial

BASE, REAL = Setting("toy", "tiny", "baseline"), Setting("toy", "tiny", "real")
NAME = "toy/tiny/real"
STUDY = [
    trial(REAL, "default-0000", 93.0),
    trial(REAL, "tpe-0001", 79.0),
    *confirmed(REAL, "paper", [90.0, 92.0, 91.0], tests=[88.0, 89.0, 90.0]),
    *confirmed(REAL, "tpe-0001", [81.0, 84.0, 82.0], tests=[80.0, 81.0, 79.0]),
]


def row_of(table: Table, name: str = NAME) -> Row:
    return next(row for row in table.rows if row.name == name)


def test_tuning_by_hand() -> None:
    table = tuning(results(STUDY))
    data = row_of(table).values()
    assert data["recipe_test"] == pytest.approx((88 * 89 * 90) ** (1 / 3))
    assert data["tuned_test"] == pytest.approx((80 * 81 * 79) ** (1 / 3))
    assert data["gain_test_ratio"] == pytest.approx(data["tuned_test"] / data["recipe_test"])
    assert data["gain_valid_ratio"] == pytest.approx((81 * 84 * 82 / (90 * 92 * 91)) ** (1 / 3))
    assert data["gain_test_ratio_low"] < data["gain_test_ratio"] < data["gain_test_ratio_high"] < 1
    assert (data["search_trial"], data["search_valid"], data["tuned_origin"]) == ("tpe-0001", 79.0, "tpe-0001")
    assert data["fresh_valid"] == pytest.approx((81 * 84 * 82) ** (1 / 3))
    assert data["curse_ratio"] == pytest.approx(data["fresh_valid"] / 79.0)
    keys = row_of(table).data
    paper, tuned = (
        trial_keys(name_of(REAL), [f"confirm-{o}-s{s}" for s in (101, 102, 103)]) for o in ("paper", "tpe-0001")
    )
    chosen = trial_keys(name_of(REAL), ["tpe-0001"])
    assert (keys["recipe_test"].trials, keys["tuned_test"].trials) == (paper, tuned)
    assert keys["gain_test_ratio"].trials == keys["gain_test_seeds"].trials == paper + tuned
    assert (keys["search_valid"].trials, keys["fresh_valid"].trials) == (chosen, tuned)
    assert keys["curse_ratio"].trials == chosen + tuned


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (STUDY[:2], "no tuned configuration is confirmed on fresh seeds"),
        ([STUDY[0], *STUDY[2:5]], "the paper's recipe won: there is nothing to gain"),
        ([*STUDY[:2], STUDY[2], STUDY[5]], "no interval: one seed says nothing about the spread between seeds"),
        ([*STUDY[:2], STUDY[2], STUDY[6]], "the recipe and the tuned configuration share no seed"),
    ],
)
def test_what_is_missing_is_said(rows: list, note: str) -> None:
    table = tuning(results(rows))
    row = row_of(table)
    assert row.note == note
    assert row.values()["gain_test_ratio_low"] is None
    assert all(isinstance(column.text(row.data), str) for column in table.columns)


def draws(setting: Setting, ppls: list[float]) -> list:
    return [trial(setting, f"random-{i:04d}", ppl, tau=None, gamma=None) for i, ppl in enumerate(ppls, 1)]


def test_the_search_by_hand() -> None:
    real = [100.0 + i for i in range(20)]
    table = search(results(draws(REAL, real)))
    data = row_of(table).values()
    losses = [math.log(ppl) for ppl in real]
    for n in (1, 3, 10):
        assert data[f"expected_{n}"] == pytest.approx(math.exp(expected_best(losses, estimator="U")[n - 1]))
    assert data["median_1_low"] < data["median_1"] < data["median_1_high"]
    assert data["median_3"] is not None
    assert math.isnan(data["median_10_low"])  # 20 draws cannot carry it
    ids = [f"random-{i:04d}" for i in range(1, 21)]
    keys = row_of(table).data
    assert keys["expected_10"].trials == keys["median_1"].trials == trial_keys(name_of(REAL), ids)
    assert (data["plateau_area"], data["plateau_draws"]) == (None, None)  # neither tau nor gamma was recorded


def test_what_diverged_and_what_is_left_out() -> None:
    rows = draws(REAL, [100.0, 101.0, 102.0, 103.0])
    rows[0] |= {"status": "failed", "stopped_by": "non_finite_loss", "best_valid_ppl": None}
    rows[1] |= {"status": "interrupted"}
    row = row_of(search(results(rows)))
    assert row.note == "1 of 3 draws diverged; 1 draws unfinished or stopped by an error"
    assert (row.values()["num_draws"], row.values()["num_diverged"], row.values()["num_left_out"]) == (3, 1, 1)


def test_a_plateau_of_tau_and_gamma() -> None:
    places = [(2.0, 0.5, 80.0), (2.0, 1.5, 80.5), (32.0, 0.5, 99.0), (32.0, 1.5, 99.0)]
    rows = [trial(REAL, f"random-{i:04d}", ppl, tau=tau, gamma=gamma) for i, (tau, gamma, ppl) in enumerate(places)]
    table = search(results(rows))
    data = row_of(table).values()
    assert (data["plateau_area"], data["plateau_draws"], data["plateau_trials"]) == (0.5, 0.5, 2)
    assert row_of(table).data["plateau_area"].trials == trial_keys(name_of(REAL), ["random-0000", "random-0001"])
