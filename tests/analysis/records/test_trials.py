"""Selection of trials by the rules of ``study.records.trials``."""

from __future__ import annotations

import math

from analysis.records.trials import best_of_search, diverged, protected
from study.records.records import Setting
from study.records.trials import is_diverged, is_protected, may_win_search
from tests.support.memory import confirm, results, trial

SETTING = Setting("toy", "tiny", "real")
ROWS = [
    trial(SETTING, "default-0000", 90.0),
    trial(SETTING, "random-0001", 80.0, status="failed", stopped_by="non_finite_loss", audit=None),
    trial(SETTING, "random-0002", None, status="failed", stopped_by="error"),
    trial(SETTING, "tpe-0003", 70.0, status="pruned", stopped_by="asha"),
    trial(SETTING, "tpe-0004", 85.0, audit=True),
    trial(SETTING, "tpe-0005", math.inf),
    trial(SETTING, "tpe-0006", 85.0),
    *confirm(SETTING, {101: 60.0}),
]


def test_each_rule_by_hand() -> None:
    trials = results(ROWS).trials
    assert list(trials.loc[diverged(trials), "trial_id"]) == ["random-0001"]
    assert list(trials.loc[~protected(trials), "trial_id"]) == ["tpe-0003", "tpe-0005", "tpe-0006"]
    assert list(best_of_search(trials)["trial_id"]) == ["tpe-0004", "tpe-0006", "default-0000"]
    assert best_of_search(trials.iloc[:0]).empty


def test_a_row_is_judged_as_a_frame_is() -> None:
    trials = results([row | {"audit": bool(row["audit"])} for row in ROWS]).trials
    rows = [row for _, row in trials.iterrows()]
    assert [is_protected(r["block"], r["audit"]) for r in rows] == protected(trials).tolist()
    assert [is_diverged(r["status"], r["stopped_by"]) for r in rows] == diverged(trials).tolist()
    win = [may_win_search(r["block"], r["status"]) for r in rows]
    assert win == may_win_search(trials["block"], trials["status"]).tolist()
