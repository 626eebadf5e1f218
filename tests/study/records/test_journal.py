"""Optuna's journal: its copy in an object store, whole lines only; Optuna reads it as it reads its own."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.records.journal import Journal, JournalFile, open_journal
from trainables.storage.storage import PATIENCE, StorageError, open_storage, read_bytes, write_bytes


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


def test_the_copy_in_the_storage_replaces_the_cached_file(remote: str, tmp_path: Path) -> None:
    first = Journal("s", remote, copy_every_s=3600)
    first.path.parent.mkdir(parents=True, exist_ok=True)
    first.path.write_bytes(b"old\n")
    assert Journal("s", remote, copy_every_s=3600).path.exists() is False  # nothing there: the records rebuild it
    fs, root = open_storage(remote)
    write_bytes(fs, f"{root}/optuna/s.journal", b"new\n")
    assert Journal("s", remote, copy_every_s=3600).path.read_bytes() == b"new\n"


def test_a_failed_copy_is_logged_and_raises_nothing(
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


def open_study(backend) -> optuna.Study:
    return optuna.create_study(
        study_name="s",
        storage=JournalStorage(backend),
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )


def add_trial(study: optuna.Study, value: float) -> None:
    trial = study.ask({"lr": optuna.distributions.FloatDistribution(0.1, 1.0)})
    trial.report(value, 1)
    trial.set_user_attr("name", f"t{value}")
    study.tell(trial, value)


def content(study: optuna.Study) -> list:
    return [(t.number, t.params, t.value, t.state, t.user_attrs, t.intermediate_values) for t in study.get_trials()]


def test_optunas_own_backend_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "j"
    study = open_study(JournalFile(path))
    add_trial(study, 1.0)
    again = open_study(JournalFile(path))
    add_trial(again, 2.0)
    assert len(content(again)) == 2
    assert content(open_study(JournalFileBackend(str(path)))) == content(again)
    assert content(open_study(JournalFile(path))) == content(again)


def test_a_line_is_read_once(tmp_path: Path) -> None:
    """Otherwise the cost of a call grows with the study."""
    backend = JournalFile(tmp_path / "j")
    study = open_study(backend)
    read: list[int] = []
    original = backend.read_logs

    def counting(log_number_from: int):
        logs = list(original(log_number_from))
        read.append(len(logs))
        return iter(logs)

    backend.read_logs = counting  # type: ignore[method-assign]
    for value in range(10):
        add_trial(study, float(value))
    assert sum(read) == len((tmp_path / "j").read_bytes().splitlines()) - 1  # the study's own line was read before
    assert max(read) <= 2


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "20")
    monkeypatch.setattr("trainables.storage.storage.time.sleep", lambda _: None)
    backend = JournalFile(tmp_path / "j")
    study = open_study(backend)
    file, tries = backend._file, []

    class Full:
        def fileno(self) -> int:
            return file.fileno()

        def write(self, data: bytes) -> int | None:
            tries.append(len(data))
            return file.write(data[: len(data) // 2] if len(tries) < 3 else data)

    backend._file = Full()  # type: ignore[assignment]
    add_trial(study, 1.0)
    assert len(tries) > 3
    assert content(open_study(JournalFileBackend(str(tmp_path / "j")))) == content(study)


def test_a_disk_that_stays_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "0")
    backend = JournalFile(tmp_path / "j")
    backend._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(StorageError, match="No space left"):
        backend.append_logs([{"op_code": 0}])
    assert os.path.getsize(tmp_path / "j") == 0
