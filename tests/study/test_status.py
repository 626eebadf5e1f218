"""The state of a study, from made-up records."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study.records.records import Setting
from study.status import build_parser, main, print_statuses, study_statuses
from tests.support.synthetic import EPOCH_S, START, write_run, write_study, write_trial

SETTING = Setting("ptb", "small", "real")
NAME = "real-small-ptb-0a1b2c3d"


def the_status(path: Path, *, now: dt.datetime = START) -> Any:
    (status,) = study_statuses(str(path), now=now)
    return status


def test_numbers_by_hand(tmp_path: Path) -> None:
    storage = str(tmp_path)
    write_run(storage, SETTING, NAME, num_samples=5, num_seeds=3, outcome="running", heartbeat_at=START, ended_at=None)
    write_trial(storage, SETTING, NAME, "default-0000", [100.0, 90.0])
    write_trial(storage, SETTING, NAME, "random-0001", [100.0, math.nan], status="failed")
    write_trial(storage, SETTING, NAME, "random-0002", [20.0], status="failed")
    write_trial(storage, SETTING, NAME, "tpe-0003", [110.0], status="pruned")
    write_trial(storage, SETTING, NAME, "tpe-0004", [100.0, 85.0], status="interrupted", device_s=1e6)
    write_trial(storage, SETTING, NAME, "tpe-0004", [86.0], status="interrupted", attempt=2, first_epoch=3)
    write_trial(storage, SETTING, NAME, "confirm-paper-s101", [80.0, 79.0], origin="paper")
    status = the_status(tmp_path, now=START + dt.timedelta(seconds=30))
    assert (status.corpus, status.size, status.variant, status.study) == (*SETTING, NAME)
    assert status.state == "running"
    assert (status.search_done, status.search_planned) == (4, 5)
    assert (status.confirm_done, status.confirm_planned) == (1, 6)
    assert status.trials == {
        "default": {"complete": 1},
        "random": {"failed": 2},
        "tpe": {"pruned": 1, "running": 1},
        "confirm": {"complete": 1},
    }
    assert status.num_epochs == 2 + 2 + 1 + 1 + 3 + 2
    assert (status.best_valid_ppl, status.best_trial_id) == (85.0, "tpe-0004")
    assert status.device_hours == pytest.approx(11 * EPOCH_S / 3600)
    assert status.heartbeat_at == START


@pytest.mark.parametrize(
    ("outcome", "age_s", "state"),
    [
        ("running", 119, "running"),
        ("running", 121, "interrupted"),
        ("finished", 1, "finished"),
        ("interrupted", 1, "interrupted"),
        ("time_budget", 1, "time budget"),
        ("failed", 1, "failed"),
    ],
)
def test_state(tmp_path: Path, outcome: str, age_s: int, state: str) -> None:
    write_run(str(tmp_path), SETTING, NAME, outcome=outcome, heartbeat_at=START)
    write_trial(str(tmp_path), SETTING, NAME, "default-0000", [9.0], status="interrupted")
    status = the_status(tmp_path, now=START + dt.timedelta(seconds=age_s))
    assert status.state == state
    assert status.trials == {"default": {"running" if state == "running" else "interrupted": 1}}


def test_the_latest_run_counts(tmp_path: Path) -> None:
    write_run(str(tmp_path), SETTING, NAME, outcome="finished", num_samples=5)
    write_run(
        str(tmp_path), SETTING, NAME, run=2, outcome="interrupted", num_samples=9, started_at=START.replace(hour=20)
    )
    assert (the_status(tmp_path).state, the_status(tmp_path).search_planned) == ("interrupted", 9)


def test_a_row_left_over_from_an_earlier_attempt_does_not_count(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, NAME, "default-0000", [80.0], attempt=2)
    write_trial(str(tmp_path), SETTING, NAME, "default-0000", [], status="interrupted", attempt=1)
    assert the_status(tmp_path).trials == {"default": {"complete": 1}}


def test_a_recipe_that_has_won_the_search_is_confirmed_once(tmp_path: Path) -> None:
    write_run(str(tmp_path), SETTING, NAME, num_samples=2, num_seeds=3, outcome="interrupted")
    assert (the_status(tmp_path).select_planned, the_status(tmp_path).confirm_planned) == (4, 6)
    for origin in ("paper", "random-0001"):
        for seed in (51, 52):
            write_trial(str(tmp_path), SETTING, NAME, f"select-{origin}-s{seed}", [80.0], origin=origin)
    write_run(str(tmp_path), SETTING, NAME, num_samples=2, num_seeds=3)
    assert (the_status(tmp_path).select_done, the_status(tmp_path).select_planned) == (4, 4)
    assert the_status(tmp_path).confirm_planned == 3


def test_trials_without_a_run(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, NAME, "default-0000", [80.0])
    status = the_status(tmp_path)
    assert (status.state, status.search_planned, status.heartbeat_at) == ("interrupted", None, None)


def test_all_failed(tmp_path: Path) -> None:
    write_run(str(tmp_path), SETTING, NAME)
    write_trial(str(tmp_path), SETTING, NAME, "default-0000", [math.nan], status="failed")
    assert (the_status(tmp_path).best_valid_ppl, the_status(tmp_path).best_trial_id) == (None, None)


def test_a_line_per_study(tmp_path: Path) -> None:
    write_study(str(tmp_path), Setting("toy", "tiny", "re"), recipe_seeds=1, tuned_seeds=1, num_tpe=2)
    for study in (NAME, "real-small-ptb-ffffffff"):
        write_run(str(tmp_path), SETTING, study)
    out, now = io.StringIO(), START + dt.timedelta(hours=3)
    print_statuses(study_statuses(str(tmp_path), now=now), Console(file=out, width=100), now=now)
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["state", "ptb", "real", "real", "toy", "re"]
    assert lines[2].split()[:3] == ["real", "0a1b2c3d", "finished"]
    assert lines[5].split()[:6] == ["re", "finished", "6/6", "0/0", "2/2", "0"]
    assert lines[5].rstrip().endswith("2 h ago")
    assert max(map(len, lines)) <= 100


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(str(tmp_path), SETTING, NAME, heartbeat_at=START)
    assert main(["--storage", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["study"], found["state"], found["heartbeat_at"]) == (NAME, "finished", START.isoformat())
    assert found["best_valid_ppl"] is None


def test_nothing_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STUDY_STORAGE", str(tmp_path / "absent"))
    assert main([]) == 0
    assert f"No study on record under {tmp_path / 'absent'}. A first one" in capsys.readouterr().out
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--storage", "absent"], "must be a folder or an s3:// URI, got 'absent'"),
        (["--jso"], "unrecognized arguments"),
    ],
)
def test_what_is_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_line_is_frozen() -> None:
    options = {option for action in build_parser()._actions for option in action.option_strings}
    assert options == {"-h", "--help", "--storage", "--json"}


def test_a_recipe_only_study_confirms_the_recipe_alone(tmp_path: Path) -> None:
    write_run(str(tmp_path), SETTING, NAME, num_samples=0, num_seeds=3)
    write_trial(str(tmp_path), SETTING, NAME, "confirm-paper-s101", [80.0, 79.0], origin="paper")
    status = the_status(tmp_path)
    assert (status.search_done, status.search_planned) == (0, 0)
    assert (status.confirm_done, status.confirm_planned) == (1, 3)
