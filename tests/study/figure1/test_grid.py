from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from study.driver.ray_session import StudyError
from study.figure1.grid import GridOptions, SubspaceGrid, build_grid, print_grid_plan, run_grid
from study.figure1.ledger import SETTING, GridLedger
from study.records.records import Records, read_table
from trainables.data.corpora import Corpus, load_corpus
from trainables.recipes import FIGURE1

SMALL = {"corpus": "toy", "num_epochs": 3, "num_tokens": 400, "hidden_size": 6, "batch_size": 4, "bptt": 9}


def make_grid(**changes) -> SubspaceGrid:
    return build_grid(**({"betas": [0.0, 1.0], "taus": [2.0, 10.0], "num_seeds": 2} | SMALL | changes))


@pytest.fixture
def _ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short path for Ray, which puts sockets below it."""
    with tempfile.TemporaryDirectory(prefix="vdg", dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="module")
def toy() -> Corpus:
    return load_corpus("toy")


def result(epoch: int, **more) -> dict:
    """What the trainable would report."""
    return {
        "epoch": epoch, "first_token": 7, "vocab_size": 401, "lr": 0.1, "train_loss": 1.0, "augmented_loss": 0.1,
        "grad_norm": 2.0, "subspace_distance": 0.5, "centred_distance": 0.4, "explained_share": 0.3, "epoch_s": 0.1,
        "done": epoch >= 3, "complete": epoch >= 3, "num_params": 9,
    } | more  # fmt: skip


def open_ledger(storage: Path, corpus: Corpus) -> GridLedger:
    grid = make_grid()
    return GridLedger(grid.name, grid.runs(), str(storage), corpus=corpus)


def rows(storage: Path) -> list[dict]:
    table = read_table(str(storage), "subspace").to_pylist()
    return sorted(table, key=lambda r: (r["trial_id"], r["epoch"]))


def test_a_seeds_points_are_all_done_before_the_next_seed_begins() -> None:
    runs = make_grid().runs()
    assert list(runs) == [
        "beta0-tau10-s0", "beta1-tau10-s0", "beta1-tau2-s0",
        "beta0-tau10-s1", "beta1-tau10-s1", "beta1-tau2-s1",
    ]  # fmt: skip
    assert (runs["beta1-tau2-s1"].beta, runs["beta1-tau2-s1"].tau, runs["beta1-tau2-s1"].seed) == (1.0, 2.0, 1)


def test_the_default_grid_is_figure_1() -> None:
    grid = build_grid()
    assert {beta for beta, tau in grid.points if tau == 10.0} == set(FIGURE1.betas)
    assert {tau for beta, tau in grid.points if beta == 1.0} == set(FIGURE1.taus)
    assert len(grid.points) == len(FIGURE1.betas) + len(FIGURE1.taus) - 1  # (1, 10) once
    assert grid.num_seeds == 10
    assert SETTING == ("ptb", "figure1", "al")


def test_points_and_seeds_extend_a_study_and_all_else_makes_another() -> None:
    name = make_grid().name
    assert make_grid(num_seeds=7, betas=[0.5], taus=[]).name == name
    for change in ({"num_epochs": 4}, {"plateau_epochs": 7}, {"target_gradient": "stop"}, {"vocabulary": "excerpt"}):
        assert make_grid(**change).name != name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_seeds": 0}, "num_seeds must be a whole number of at least 1, got 0"),
        ({"betas": [1.5]}, r"beta must be a number in \[0, 1\], got 1.5"),
        ({"taus": [0.0]}, r"tau must be a number in \(0, inf\), got 0.0"),
        ({"gamma": 1.0}, "no field gamma"),
        ({"betas": [], "taus": []}, "at least one point"),
    ],
)
def test_refused_values_say_the_rule(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_grid(**changes)


def test_the_plan_needs_neither_ray_nor_corpus_and_counts_what_is_left(tmp_path: Path, toy: Corpus) -> None:
    ledger = open_ledger(tmp_path, toy)
    for epoch in (1, 2, 3):
        ledger.record("beta0-tau10-s0", result(epoch))
    ledger.record("beta1-tau10-s0", result(1))
    out = io.StringIO()
    print_grid_plan(make_grid(), Console(file=out, width=200), storage=str(tmp_path), max_concurrent=2)
    text = out.getvalue()
    assert "3 points x 2 seeds = 6 runs of at most 3 epochs, 1 done\nat most 14 epochs left" in text
    assert make_grid().name in text
    assert "with 2 at a time" in text
    assert "tau 10   beta 0, 1\n" in text
    assert not (tmp_path / "locks").exists()


def test_every_epoch_is_on_record_once_whatever_is_reported_twice(tmp_path: Path, toy: Corpus) -> None:
    ledger = open_ledger(tmp_path, toy)
    for epoch in (1, 2, 2, 1):
        ledger.record("beta1-tau2-s1", result(epoch))
    again = open_ledger(tmp_path, toy)
    assert again.epochs == {"beta1-tau2-s1": 2}
    job = next(job for job in again.jobs() if job.trial_id == "beta1-tau2-s1")
    assert job.recorded_epochs == 2
    for epoch in (2, 3):
        again.record("beta1-tau2-s1", result(epoch))
    found = rows(tmp_path)
    assert [(r["epoch"], r["attempt"], r["status"]) for r in found] == [
        (1, 1, "interrupted"), (2, 1, "interrupted"), (3, 2, "complete"),
    ]  # fmt: skip
    assert "beta1-tau2-s1" not in {job.trial_id for job in again.jobs()}
    assert {(r["beta"], r["tau"], r["seed"], r["num_epochs"], r["lr"], r["corpus_sha256"]) for r in found} == {
        (1.0, 2.0, 1, 3, 0.1, toy.sha256)
    }
    assert None not in {r[name] for r in found for name in r if name not in ("gpu_model", "git_commit", "init_range")}


def test_a_run_whose_distance_no_longer_falls_is_complete_and_not_tried_again(tmp_path: Path, toy: Corpus) -> None:
    ledger = open_ledger(tmp_path, toy)
    ledger.record("beta1-tau2-s0", result(1))
    ledger.record("beta1-tau2-s0", result(2, done=True, complete=True))
    ledger.record("beta1-tau10-s0", result(1, done=True))  # a time budget ended it
    assert [(r["trial_id"], r["epoch"], r["num_epochs"], r["status"]) for r in rows(tmp_path)] == [
        ("beta1-tau10-s0", 1, 3, "interrupted"),
        ("beta1-tau2-s0", 1, 3, "interrupted"),
        ("beta1-tau2-s0", 2, 3, "complete"),
    ]
    again = open_ledger(tmp_path, toy)
    assert again.ended == {"beta1-tau2-s0"}
    assert "beta1-tau2-s0" not in {job.trial_id for job in again.jobs()}
    out = io.StringIO()
    print_grid_plan(make_grid(), Console(file=out, width=200), storage=str(tmp_path))
    assert "1 done\nat most 14 epochs left" in out.getvalue()  # 2 of one run, 3 of each of four


def test_records_without_the_later_columns_are_read(tmp_path: Path, toy: Corpus) -> None:
    """As they were written before the centred distance and the end at a plateau: those columns are null."""
    ledger = open_ledger(tmp_path, toy)
    for epoch in (1, 2, 3):
        ledger.record("beta1-tau2-s0", result(epoch))
    (file,) = tmp_path.rglob("*.parquet")
    later = ["centred_distance", "explained_share", "warmup_epochs", "plateau_epochs", "plateau_fall"]
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(later), file)
    assert open_ledger(tmp_path, toy).ended == {"beta1-tau2-s0"}
    assert {row[name] for row in rows(tmp_path) for name in later} == {None}


def test_a_run_that_diverged_is_on_record_and_not_tried_again(tmp_path: Path, toy: Corpus) -> None:
    ledger = open_ledger(tmp_path, toy)
    ledger.record("beta1-tau2-s0", result(1))
    ledger.record("beta1-tau2-s0", {"epoch": 2, "failure": "training diverged", "done": True})
    last = rows(tmp_path)[-1]
    assert (last["epoch"], last["status"], last["subspace_distance"]) == (2, "failed", None)
    assert "beta1-tau2-s0" not in {job.trial_id for job in open_ledger(tmp_path, toy).jobs()}


def test_records_of_another_corpus_are_refused(tmp_path: Path, toy: Corpus) -> None:
    grid = make_grid()
    Records(str(tmp_path), SETTING, grid.name).write(
        "subspace", "beta1-tau2-s0", 1, [{"trial_id": "beta1-tau2-s0", "epoch": 1, "corpus_sha256": "0123456789abcdef"}]
    )
    with pytest.raises(StudyError, match="another toy: its content was 0123456789ab"):
        run_grid(grid, GridOptions(storage=str(tmp_path)), Console(file=io.StringIO()), corpus=toy)


NUMBERS = (
    "trial_id", "epoch", "status", "train_loss", "augmented_loss", "subspace_distance", "centred_distance",
    "explained_share", "lr", "first_token",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("_ray_folder")
def test_a_grid_goes_on_where_a_driver_died_to_the_same_numbers(tmp_path: Path, toy: Corpus) -> None:
    """Real Tune runs: one from its beginning, then one after each way in which records and checkpoints can differ."""
    grid = make_grid(num_seeds=1, betas=[0.5], taus=[10.0])
    half, full = grid.runs()
    console = Console(file=io.StringIO(), width=200)
    storage = tmp_path / "results"

    def run() -> list[dict]:
        options = GridOptions(storage=str(storage), max_concurrent=1)
        assert run_grid(grid, options, console, corpus=toy) == "finished"
        return rows(storage)

    expected = run()
    assert [r["status"] for r in expected] == ["interrupted", "interrupted", "complete"] * 2
    measures = ("subspace_distance", "centred_distance", "explained_share")
    assert np.isfinite([[r[name] for name in measures] for r in expected]).all()

    # Of one run the record is behind the checkpoint, of the other there is no checkpoint.
    for name, kept in ((half, 1), (full, 2)):
        mine = [r for r in expected if r["trial_id"] == name]
        for row in mine:
            for key in ("corpus", "size", "variant"):
                row.pop(key)
        Records(str(storage), SETTING, grid.name).write("subspace", name, 1, mine[:kept])
    shutil.rmtree(storage / "checkpoints" / grid.name / full)
    found = run()
    assert [[r[n] for n in NUMBERS] for r in found] == [[r[n] for n in NUMBERS] for r in expected]
    assert [r["attempt"] for r in found] == [1, 2, 2, 1, 1, 2]
    # What the checkpoint held was reported again, not trained again.
    assert [r["epoch_s"] for r in found[:3]] == [r["epoch_s"] for r in expected[:3]]

    # Nothing is left: nothing is written.
    before = sorted((p, p.stat().st_mtime_ns) for p in storage.rglob("*.parquet"))
    run()
    assert sorted((p, p.stat().st_mtime_ns) for p in storage.rglob("*.parquet")) == before


@pytest.mark.slow
@pytest.mark.usefixtures("_ray_folder")
def test_a_run_ends_at_a_plateau_and_the_next_driver_knows_it(tmp_path: Path, toy: Corpus) -> None:
    """Real Tune runs: where no fall is enough, a run ends as soon as there are two means to compare."""
    plateau = {"warmup_epochs": 2, "plateau_epochs": 1, "plateau_fall": 1.0}
    grid = make_grid(num_seeds=1, betas=[0.0], taus=[], num_epochs=9, **plateau)
    (name,) = grid.runs()
    storage = str(tmp_path / "results")

    def run() -> list[dict]:
        options = GridOptions(storage=storage, max_concurrent=1)
        assert run_grid(grid, options, Console(file=io.StringIO()), corpus=toy) == "finished"
        return rows(tmp_path / "results")

    expected = run()
    assert [(r["epoch"], r["status"]) for r in expected] == [
        (1, "interrupted"), (2, "interrupted"), (3, "interrupted"), (4, "complete"),
    ]  # fmt: skip
    assert [{n: r[n] for n in plateau} for r in expected] == [plateau] * 4

    # The record of its end is lost, its checkpoint is not: it is reported again, and nothing is trained.
    mine = [{n: r[n] for n in r if n not in ("corpus", "size", "variant")} for r in expected]
    Records(storage, SETTING, grid.name).write("subspace", name, 1, mine[:3])
    found = run()
    assert [[r[n] for n in (*NUMBERS, "epoch_s")] for r in found] == [
        [r[n] for n in (*NUMBERS, "epoch_s")] for r in expected
    ]
