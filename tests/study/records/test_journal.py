"""Optuna's journal: whole lines only, and its copy in an object store."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from study.records.journal import Journal, open_journal
from trainables.storage.storage import StorageError, open_storage, read_bytes, write_bytes


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A folder that passes for an object store."""
    folder = tmp_path / "store"
    for name in (
        "study.records.journal.is_remote",
        "study.driver.lease.open_storage",
        "study.records.journal.open_storage",
    ):
        monkeypatch.setattr(
            name, (lambda _: True) if name.endswith("is_remote") else (lambda _: open_storage(str(folder)))
        )
    monkeypatch.setenv("VDLSTM_CACHE", str(tmp_path / "cache"))
    return str(folder)


def stored(remote: str) -> bytes | None:
    fs, root = open_storage(remote)
    return read_bytes(fs, f"{root}/optuna/s.journal")


def test_a_local_journal_lies_in_the_storage(tmp_path: Path) -> None:
    journal = Journal("s", str(tmp_path))
    assert journal.path == tmp_path / "optuna" / "s.journal"
    journal.close()


def test_the_copy_is_put_there_whole_lines_only_and_taken_up_elsewhere(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal("s", remote, copy_every_s=3600)
    optuna.create_study(study_name="s", storage=open_journal(journal.path))
    with journal.path.open("ab") as file:
        file.write(b'{"half": ')
    journal.close()
    copy = stored(remote)
    assert copy is not None
    assert copy.endswith(b"\n")
    monkeypatch.setenv("VDLSTM_CACHE", str(tmp_path / "another machine"))
    taken = Journal("s", remote, copy_every_s=3600)
    assert taken.path.read_bytes() == copy
    assert optuna.load_study(study_name="s", storage=open_journal(taken.path)).study_name == "s"
    taken.close()


def test_what_is_in_the_storage_counts(remote: str, tmp_path: Path) -> None:
    first = Journal("s", remote, copy_every_s=3600)
    first.path.parent.mkdir(parents=True, exist_ok=True)
    first.path.write_bytes(b"old\n")
    assert Journal("s", remote, copy_every_s=3600).path.exists() is False  # nothing there: the records rebuild it
    fs, root = open_storage(remote)
    write_bytes(fs, f"{root}/optuna/s.journal", b"new\n")
    assert Journal("s", remote, copy_every_s=3600).path.read_bytes() == b"new\n"


def test_a_copy_that_fails_is_told_and_ends_nothing(
    remote: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal("s", remote, copy_every_s=3600)
    journal.path.parent.mkdir(parents=True, exist_ok=True)
    journal.path.write_bytes(b"line\n")

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("cannot write it: away")

    monkeypatch.setattr("study.records.journal.write_bytes", refuse)
    journal.close()
    assert "was not copied" in caplog.text


def test_a_damaged_journal_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.journal"
    optuna.create_study(study_name="s", storage=open_journal(path))
    with path.open("ab") as file:
        file.write(bytes(64) + b"\n")  # what a file system may leave after a loss of power
    optuna.create_study(study_name="s", storage=open_journal(path))
    assert (tmp_path / "s.damaged").exists()
    assert "is damaged" in caplog.text


def test_half_a_line_at_the_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    optuna.create_study(study_name="s", storage=open_journal(path))
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "half of a')
    assert optuna.load_study(study_name="s", storage=open_journal(path)).study_name == "s"
    assert not (tmp_path / "s.damaged").exists()
