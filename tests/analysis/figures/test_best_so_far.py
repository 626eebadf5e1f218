"""Best-so-far curves by hand."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from analysis.figures.best_so_far import BestSoFar, BestSoFarInfo, best_so_far, draw_best_so_far
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import EPOCH_S, START, write_trial

SETTING = Setting("ptb", "small", "real")


def read(path: Path) -> BestSoFarInfo:
    return best_so_far(load_results([str(path)]))


def test_in_the_order_in_which_trials_ended(tmp_path: Path) -> None:
    storage = str(tmp_path)
    trials = [("tpe-0004", [80.0], "pruned", 4), ("default-0000", [100.0, 90.0], "complete", 1)]
    trials += [("random-0001", [70.0, math.nan], "failed", 2), ("random-0002", [95.0], "complete", 3)]
    for trial_id, ppls, status, hour in trials:
        write_trial(storage, SETTING, "s", trial_id, ppls, status=status, ended_at=START + timedelta(hours=hour))
    write_trial(storage, SETTING, "s", "tpe-0005", [10.0], status="interrupted")
    write_trial(storage, SETTING, "s", "confirm-paper-s101", [5.0], origin="paper")
    assert read(tmp_path) == BestSoFarInfo(
        studies=(
            BestSoFar(
                setting=SETTING,
                study="s",
                trial_ids=("default-0000", "random-0001", "random-0002", "tpe-0004"),
                statuses=("complete", "failed", "complete", "pruned"),
                ppl=(90.0, None, 95.0, 80.0),  # a trial that diverged has no value, whatever it had reached
                best=(90.0, 90.0, 90.0, 80.0),
                device_h=pytest.approx(tuple(n * EPOCH_S / 3600 for n in (2, 4, 5, 6))),
                num_unfinished=1,
            ),
        )
    )


def test_nothing_before_the_first_value(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "random-0001", [math.nan], status="failed")
    write_trial(str(tmp_path), SETTING, "s", "random-0002", [5.0], status="interrupted")
    found = read(tmp_path)
    assert found.is_empty
    assert (found.studies[0].best, found.studies[0].num_unfinished) == ((None,), 1)


def test_the_picture_counts_what_is_not_in_it(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "random-0001", [50.0])
    write_trial(str(tmp_path), SETTING, "s", "random-0002", [], status="failed", ended_at=START + timedelta(days=1))
    write_trial(str(tmp_path), SETTING, "s", "random-0003", [5.0], status="interrupted")
    by_trial, by_hours = draw_best_so_far(read(tmp_path)).axes
    assert list(by_trial.lines[0].get_xdata()) == [1, 2]
    assert "2 trials each; 1 still running or interrupted" in [text.get_text() for text in by_trial.texts]
    assert "+REAL 50.0" in [text.get_text() for text in by_hours.texts]
    crosses = [line for line in by_trial.lines if line.get_marker() == "x"]
    assert list(crosses[0].get_xdata()) == [2]
