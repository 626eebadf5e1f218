"""The fault test finds planted violations of its invariants; and a short run of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from study.records.records import SCHEMAS
from tests.chaos.campaign import draw_fault
from tests.chaos.faults import FAULTS
from tests.chaos.invariants import Watch, differences, left_open, not_evaluated, read_test_early, unreadable
from tests.chaos.study import name
from tests.support.studies import EVALUATED, open_setting, run_all

BUDGET = {"num_samples": 4, "max_epochs": 3, "num_seeds": 1}
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a study that has ended, with a run and a checkpoint; read only."""
    storage = tmp_path_factory.mktemp("ended") / "storage"
    setting = open_setting(storage, **BUDGET)
    run_all(setting)
    setting.ledger.records.write("runs", "run", 1, [{"study": setting.spec.name, "run": 1, "outcome": "finished"}])
    best = storage / "checkpoints" / setting.spec.name / "confirm-paper-s101" / "best.pt"
    best.parent.mkdir(parents=True)
    torch.save({"epoch": 3, "model": {"weight": torch.zeros(4)}}, best)
    return storage


@pytest.fixture
def storage(ended: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(ended, tmp_path / "storage"))


def file_of(storage: Path, table: str, trial: str) -> Path:
    (path,) = (storage / table).rglob(f"{trial}.a*.parquet")
    return path


def rewrite(path: Path, change: Callable[[Rows], object]) -> None:
    """Changes the rows of a file in place."""
    rows = pq.ParquetFile(path).read().to_pylist()
    change(rows)
    table = next(name for name in SCHEMAS if name in path.parts)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[table]), path)


def test_nothing_is_broken_in_a_study_that_has_ended_well(ended: Path) -> None:
    watch = Watch(ended)
    assert watch.look() == watch.look() == []
    assert len(watch.seen) > 9
    assert unreadable(ended) == read_test_early(ended) == not_evaluated(ended) == left_open(ended) == []
    assert differences(ended, ended) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.pop(), "epoch 3 of random-0001 was on record and is lost"),
        (lambda rows: rows.append(rows[-1]), "epoch 3 of random-0001 is on record 2 times"),
        (lambda rows: rows[1].update(valid_ppl=1.0), "epoch 2 of random-0001 had perplexity .* and now has 1.0"),
    ],
    ids=["lost", "twice", "changed"],
)
def test_an_epoch_is_watched(storage: Path, change: Callable[[Rows], object], told: str) -> None:
    watch = Watch(storage)
    watch.look()
    rewrite(file_of(storage, "epochs", "random-0001"), change)
    (line,) = watch.look()
    assert re.fullmatch(told, line)


def test_a_lost_file_and_one_that_another_attempt_wrote_again_are_noticed(storage: Path) -> None:
    watch = Watch(storage)
    watch.look()
    path = file_of(storage, "epochs", "random-0001")
    shutil.copy(path, path.with_name("random-0001.a2.parquet"))
    assert watch.look() == [f"epoch {epoch} of random-0001 is on record 2 times" for epoch in (1, 2, 3)]
    path.with_name("random-0001.a2.parquet").unlink()
    path.unlink()
    assert watch.look() == [f"epoch {epoch} of random-0001 was on record and is lost" for epoch in (1, 2, 3)]
    assert len(watch.look()) == 3  # and is not forgotten


@pytest.mark.parametrize("pattern", ["trials/**/default-0000.*.parquet", "**/best.pt"])
def test_a_half_written_file_is_noticed_at_its_final_name_alone(storage: Path, pattern: str) -> None:
    (path,) = storage.glob(pattern)
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.with_name(f".{path.name}.tmp").write_bytes(half)
    assert unreadable(storage) == []
    path.write_bytes(half)
    (line,) = unreadable(storage)
    assert line.startswith(f"{path.relative_to(storage)} cannot be read: ")


def test_a_test_split_that_was_read_early_is_noticed(storage: Path) -> None:
    path = file_of(storage, "evaluations", "confirm-paper-s101")
    shutil.copy(path, path.with_name("random-0001.a1.parquet"))
    rewrite(path.with_name("random-0001.a1.parquet"), lambda rows: [row.update(trial_id="random-0001") for row in rows])
    rewrite(file_of(storage, "epochs", "confirm-paper-s101"), lambda rows: [rows.pop(), rows.pop()])
    assert read_test_early(storage) == [
        "trial confirm-paper-s101 was measured on the test split after 1 epochs",
        "trial random-0001 was measured on the test split after 3 epochs",
    ]


def test_evaluations_that_are_lost_are_noticed(storage: Path) -> None:
    rewrite(file_of(storage, "evaluations", "confirm-paper-s101"), lambda rows: rows.pop())
    assert not_evaluated(storage) == ["trial confirm-paper-s101 is complete and was not measured on the test split"]


@pytest.mark.parametrize(
    ("trial", "epoch", "early"),
    [("confirm-paper-s101", 2, True), ("confirm-paper-s101", 3, False), ("random-0001", 3, True)],
)
def test_a_test_perplexity_in_a_checkpoint_counts_too(storage: Path, trial: str, epoch: int, early: bool) -> None:
    path = storage / "checkpoints" / "study" / trial / "last.pt"
    path.parent.mkdir(parents=True)
    torch.save({"config": {"max_epochs": 3}, "rows": [{"epoch": epoch, **EVALUATED}]}, path)
    told = f"the checkpoint of {trial} has a test perplexity at epoch {epoch}"
    assert read_test_early(storage) == ([told] if early else [])


def test_another_best_trial_is_noticed(storage: Path, ended: Path) -> None:
    rewrite(file_of(storage, "trials", "default-0000"), lambda rows: rows[0].update(best_valid_ppl=1.0))
    lines = differences(storage, ended)
    assert re.fullmatch("the best trial is default-0000, undisturbed it is (random|tpe)-000.", lines[0])
    assert re.fullmatch("trials: best_valid_ppl of default-0000 is .*1.0.*, undisturbed .*", lines[1])


def test_records_that_differ_from_the_undisturbed_ones_are_noticed(storage: Path, ended: Path) -> None:
    rewrite(file_of(storage, "epochs", "default-0000"), lambda rows: rows[0].update(lr=9.0, epoch_s=7.0, attempt=4))
    assert [line.split(" is ")[0] for line in differences(storage, ended)] == ["epochs: lr of ('default-0000', 1)"]
    file_of(storage, "trials", "confirm-paper-s101").unlink()
    assert "trials: confirm-paper-s101 is missing" in differences(storage, ended)
    assert "trials: confirm-paper-s101 is not in the undisturbed run" in differences(ended, storage)


def test_what_stays_open_is_noticed(storage: Path) -> None:
    rewrite(file_of(storage, "trials", "random-0001"), lambda rows: rows[0].update(status="interrupted"))
    rewrite(file_of(storage, "runs", "run"), lambda rows: rows[0].update(outcome="running"))
    (storage / "checkpoints" / "study" / "random-0001").mkdir(parents=True)
    (storage / "checkpoints" / "study" / "random-0001" / "last.pt").touch()
    assert left_open(storage) == [
        "trial random-0001 is interrupted in a study that has ended",
        "run 1 stands as running",
        "random-0001 still has its last checkpoint",
    ]


def test_a_zombie_and_a_trial_told_twice_are_noticed(storage: Path) -> None:
    (journal,) = storage.rglob("*.journal")
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    search = optuna.load_study(study_name=journal.stem, storage=optuna.storages.JournalStorage(backend))
    number = search.ask().number
    search.add_trial(search.trials[0])
    assert left_open(storage) == [
        f"Optuna's trial {number} (of nobody) is RUNNING for ever",
        "Optuna has 2 trials default-0000",
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/venv/bin/python -m study.run --variant real", "study.run"),
        ("/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp/x --gcs-address=127.0.0.1:1", "raylet"),
        ("/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp/x", "gcs_server"),
        ("/venv/bin/python -u /ray/_private/log_monitor.py --session-dir=/tmp/x", "log_monitor"),
        ("ray::ResourceTrainable.train", "worker"),
        ("ray::IDLE", "idle worker"),
        ("ray::DashboardAgent", "agent"),
    ],
)
def test_a_process_has_a_name(line: str, told: str) -> None:
    assert name(line) == told


def test_seed_and_number_fix_a_fault() -> None:
    def drawn(seed: int, *, small_disk: bool) -> list[str]:
        return [draw_fault(Random(f"{seed}/{number}"), small_disk=small_disk).name for number in range(200)]

    assert drawn(1, small_disk=True) == drawn(1, small_disk=True) != drawn(2, small_disk=True)
    assert set(drawn(1, small_disk=True)) == {fault.name for fault in FAULTS}
    assert not any("disk" in fault for fault in drawn(1, small_disk=False))


@pytest.mark.slow
def test_a_study_survives_a_few_faults(tmp_path: Path) -> None:
    """Four of them; the seed is drawn, and printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--faults", "4", "--minutes", "5", "--max-epochs", "3"],
        cwd=Path(__file__).parents[2], env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n4 faults survived in a row" in done.stdout
    assert not list(tmp_path.iterdir())  # it has cleaned up
