"""Rank correlation and regret by epoch, by hand; only trials that ASHA might not stop."""

from __future__ import annotations

import math

import pytest

from analysis.measures.fidelity import fidelity, unpruned_epochs
from analysis.records.studies import study_of
from tests.support.frames import SETTING, epoch_rows
from tests.support.memory import Row, results, trial


def frame_of(curves: dict[str, list[float]]):  # noqa: ANN201
    rows: list[Row] = []
    for trial_id, ppls in curves.items():
        rows += epoch_rows(SETTING, trial_id, ppls)
    return fidelity(results(epochs=rows).epochs)


def test_by_hand() -> None:
    found = frame_of({"a": [100.0, 90.0, 80.0], "b": [95.0, 94.0, 93.0], "c": [99.0, 85.0, 70.0]})
    assert found["epoch"].tolist() == [1, 2, 3]
    assert found["num_trials"].tolist() == [3, 3, 3]
    # Ranks at the end: c 1, a 2, b 3. At epoch 1: b, c, a; at epoch 2: c, a, b.
    assert found["spearman"].tolist() == pytest.approx([-0.5, 1.0, 1.0])
    assert found["regret_ppl"].tolist() == pytest.approx([23.0, 0.0, 0.0])


def test_a_trial_stands_by_its_best_so_far() -> None:
    found = frame_of({"a": [50.0, 90.0, 40.0], "b": [60.0, 55.0, 30.0], "c": [70.0, 65.0, 45.0]})
    assert found["regret_ppl"].tolist() == [10.0, 10.0, 0.0]  # a leads until the last epoch, although it rose


def test_epochs_that_not_all_have_are_left_out() -> None:
    found = frame_of({"a": [90.0, 80.0, 70.0], "b": [91.0, 81.0], "c": [92.0, math.nan, 60.0]})
    assert found["epoch"].tolist() == [1]
    assert found["regret_ppl"].tolist() == [10.0]  # the ends are 70, 81 and 60


def test_too_few_trials_have_no_rank_correlation() -> None:
    found = frame_of({"a": [90.0, 80.0], "b": [95.0, 70.0]})
    assert found["spearman"].isna().all()
    assert found["regret_ppl"].tolist() == [10.0, 0.0]
    empty = frame_of({})
    assert empty.empty
    assert list(empty) == ["epoch", "spearman", "regret_ppl", "num_trials"]


def test_survivors_of_asha_do_not_count() -> None:
    rows = [
        trial(SETTING, "default-0000", 90.0),
        trial(SETTING, "random-0001", 90.0),
        trial(SETTING, "random-0002", None, status="failed"),
        trial(SETTING, "tpe-0003", 90.0),
        trial(SETTING, "tpe-0004", 90.0, audit=True),
        trial(SETTING, "tpe-0005", 90.0, audit=None),
        trial(SETTING, "confirm-paper-s101", 90.0, origin="paper"),
    ]
    epochs = [row for one in rows for row in epoch_rows(SETTING, one["trial_id"], [95.0, 90.0])]
    epochs += epoch_rows(SETTING, "random-0001", [1.0], study="another")
    made = results(rows, epochs=epochs)
    study = study_of(made, SETTING)
    assert study is not None
    found = unpruned_epochs(made, study)
    assert sorted(set(found["trial_id"])) == ["default-0000", "random-0001", "tpe-0004"]
    assert set(found["study"]) == {study.study}
