"""Footnote 4's sessions and their table, by hand."""

from __future__ import annotations

import math

import pytest

from analysis.measures.sessions import sessions
from analysis.records.sources import trial_keys
from analysis.records.studies import second_session_of
from analysis.tables.footnote4 import SETTINGS, footnote_4
from study.records.records import Setting
from tests.support.frames import epoch_rows
from tests.support.memory import Row, results, trial

SETTING = Setting("ptb", "small", "real")


def two_sessions(setting: Setting, curves: dict[str, list[float]], **columns: object) -> tuple[list[Row], list[Row]]:
    """Trials whose second session begins at epoch 3, and their epochs."""
    trials, epochs = [], []
    for trial_id, ppls in curves.items():
        block, *rest = trial_id.split("-")
        seed = {"seed": int(rest[-1][1:])} if block == "confirm" else {"seed": 1}
        origin = rest[0] if block == "confirm" else None
        trials.append(
            trial(setting, trial_id, min(ppls), origin=origin, max_epochs=4, second_session_epoch=3, **(seed | columns))
        )
        epochs += epoch_rows(setting, trial_id, ppls)
    return trials, epochs


CURVES = {
    "confirm-paper-s101": [100.0, 90.0, 95.0, 88.0],
    "confirm-paper-s102": [100.0, 91.0, 95.0, 92.0],
    "confirm-paper-s103": [100.0, 92.0, math.nan, 86.0],
    "confirm-tpe-0001-s101": [80.0, 70.0, 60.0, 50.0],
    "default-0000": [100.0, 99.0, 98.0, 97.0],
}


def test_the_sessions_by_hand() -> None:
    trials, epochs = two_sessions(SETTING, CURVES)
    made = results(trials, epochs=epochs)
    study = second_session_of(made, SETTING)
    assert study is not None
    found = sessions(made, study)
    assert found is not None
    assert found.first == {101: 90.0, 102: 91.0, 103: 92.0}
    assert found.second == {101: 88.0, 102: 92.0, 103: 86.0}
    assert found.both == {101: 88.0, 102: 91.0, 103: 86.0}
    assert (found.epoch, found.num_unfinished) == (3, 0)
    assert found.trial_ids == ("confirm-paper-s101", "confirm-paper-s102", "confirm-paper-s103")
    change = found.change
    assert change is not None
    assert change.mean == pytest.approx(math.log(88 * 92 * 86 / (90 * 91 * 92)) / 3)


def test_without_confirm_trials_the_default_trial_stands() -> None:
    trials, epochs = two_sessions(SETTING, {"default-0000": CURVES["default-0000"]})
    made = results(trials, epochs=epochs)
    found = sessions(made, second_session_of(made, SETTING))  # type: ignore[arg-type]
    assert found is not None
    assert (found.first, found.second) == ({1: 99.0}, {1: 97.0})


def test_an_unfinished_trial_is_counted_and_left_out() -> None:
    trials, epochs = two_sessions(SETTING, dict(list(CURVES.items())[:2]))
    trials[1]["status"] = "interrupted"
    made = results(trials, epochs=epochs)
    found = sessions(made, second_session_of(made, SETTING))  # type: ignore[arg-type]
    assert found is not None
    assert (list(found.first), found.num_unfinished) == ([101], 1)
    for row in trials:
        row["status"] = "interrupted"
    made = results(trials, epochs=epochs)
    assert sessions(made, second_session_of(made, SETTING)) is None  # type: ignore[arg-type]


def test_the_table() -> None:
    trials, epochs = two_sessions(SETTING, CURVES)
    others, more = two_sessions(Setting("toy", "tiny", "re"), {"confirm-paper-s101": [9.0, 8.0, 7.0, 8.0]})
    table = footnote_4(results(trials + others, epochs=epochs + more))
    rows = {row.name: row for row in table.rows}
    assert list(rows) == [*("/".join(setting) for setting in SETTINGS), "toy/tiny/re"]
    real = rows["ptb/small/real"].values()
    assert real["first"] == pytest.approx((90 * 91 * 92) ** (1 / 3))
    assert real["both"] == pytest.approx((88 * 91 * 86) ** (1 / 3))
    assert (real["seeds"], real["improved"], real["p"]) == (3, "2 of 3", 0.5)
    assert real["ratio_low"] < real["ratio"] < real["ratio_high"]
    assert rows["toy/tiny/re"].values()["ratio"] == pytest.approx(7 / 8)
    assert "no interval: one seed" in rows["toy/tiny/re"].note
    assert rows["ptb/small/al"].dim
    assert rows["ptb/small/real"].note == "sessions of 2 epochs, the full length is 40"
    assert [column.text(rows["ptb/small/al"].data) for column in table.columns][:3] == ["VD-LSTM+AL", "not run", ""]
    behind = trial_keys(trials[0]["study"], (f"confirm-paper-s{seed}" for seed in (101, 102, 103)))
    assert rows["ptb/small/real"].data["ratio"].trials == behind


def test_a_study_under_way_says_so() -> None:
    trials, epochs = two_sessions(SETTING, {"confirm-paper-s101": [9.0, 8.0]}, status="interrupted")
    table = footnote_4(results(trials, epochs=epochs))
    row = next(row for row in table.rows if row.name == "ptb/small/real")
    assert row.note == "no complete trial under the paper's recipe yet"
