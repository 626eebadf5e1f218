"""The row of a run, and what it makes sure of."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pytest

from study.driver.run_log import RunLog
from tests.support.studies import open_cell
from trainables.storage.storage import PATIENCE, StorageError


def test_a_run_that_has_ended_has_written_all(tmp_path: Path) -> None:
    cell = open_cell(tmp_path)
    log = RunLog([cell], {}, dt.datetime.now(dt.UTC))
    late = threading.Event()
    cell.ledger.records.do_behind("t", "late", lambda: late.wait(0.1) or late.set())
    log.write("finished", ended=True)
    assert late.is_set()
    (row,) = cell.ledger.records.read("runs")
    assert row["outcome"] == "finished"
    assert row["ended_at"] is not None


def test_a_step_ends_with_what_the_storage_has_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "0")
    cell = open_cell(tmp_path)
    log = RunLog([cell], {}, dt.datetime.now(dt.UTC))
    log.on_step_end(1, [])
    (tmp_path / "epochs").touch()  # a file where a folder must be
    cell.ledger.records.write_behind("epochs", "t", 1, [{"trial_id": "t"}])
    with pytest.raises(StorageError):
        cell.ledger.records.flush()
    with pytest.raises(StorageError, match="cannot write"):
        log.on_step_end(2, [])
