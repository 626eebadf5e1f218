"""Optuna reads what the driver's journal file holds as it reads its own, and each line is read once."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.records.journal_file import JournalFile
from trainables.storage.storage import PATIENCE, StorageError


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
    """Else each of a study's calls costs as much as the study is long."""
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
