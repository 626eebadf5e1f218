"""The row of a run: written last, and not after a failed write."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pytest

from study.driver.run_log import RunLog
from tests.support.studies import open_setting
from trainables.storage.storage import PATIENCE, StorageError


def test_the_end_of_a_run_is_written_after_all_queued_writes(tmp_path: Path) -> None:
    setting = open_setting(tmp_path)
    log = RunLog([setting], {}, dt.datetime.now(dt.UTC))
    late = threading.Event()
    setting.ledger.records.queue.submit("t", "late", lambda: late.wait(0.1) or late.set())
    log.write("finished", ended=True)
    assert late.is_set()
    (row,) = setting.ledger.records.read("runs")
    assert row["outcome"] == "finished"
    assert row["ended_at"] is not None


def test_a_step_raises_the_error_of_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "0")
    setting = open_setting(tmp_path)
    log = RunLog([setting], {}, dt.datetime.now(dt.UTC))
    log.on_step_end(1, [])
    (tmp_path / "epochs").touch()  # a file where a folder must be
    setting.ledger.records.write_behind("epochs", "t", 1, [{"trial_id": "t"}])
    with pytest.raises(StorageError):
        setting.ledger.records.flush()
    with pytest.raises(StorageError, match="cannot write"):
        log.on_step_end(2, [])
