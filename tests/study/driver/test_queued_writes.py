"""A driver that dies with queued writes loses no epoch and no decision of ASHA."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from study.records.records import read_table
from study.records.write_behind import WriteBehind
from study.search import setting_search
from study.search.setting_search import SettingSearch
from tests.support.studies import open_setting, result

BUDGET: dict[str, Any] = {"num_samples": 11, "max_epochs": 6, "num_seeds": 1}


class KilledError(Exception):
    """The driver is dead."""


class Actors:
    """Trials with checkpoints, as ``trial_run`` has them: an epoch is in the checkpoint before it is reported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checkpoints: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {}
        self.trained: Counter[tuple[str, int]] = Counter()
        actors = self

        class Folder:
            def __init__(self, storage: str, study: str, trial_id: str) -> None:
                self.trial_id = trial_id

            def delete(self, name: str) -> None:
                actors.checkpoints.pop(self.trial_id, None)

        monkeypatch.setattr(setting_search, "CheckpointFolder", Folder)

    def run(self, setting: SettingSearch, *, concurrent: int) -> None:
        """Runs a study as Tune would: an epoch of each live trial in turn."""
        live: list[tuple[Any, list[dict[str, Any]]]] = []
        while True:
            while len(live) < concurrent and (trial := setting.next_trial()):
                job = setting.job(trial)
                rows, config = self.checkpoints.setdefault(trial.trial_id, ([], job.trial))
                assert config == job.trial  # as ``trial_run`` does: a checkpoint of another trial is of no use
                live.append((trial, rows[min(job.recorded_epochs, setting.spec.max_epochs - 1) :]))
            if not live:
                return
            trial, replay = live.pop(0)
            rows, _ = self.checkpoints[trial.trial_id]
            if replay:
                row = replay.pop(0)
            else:
                row = result(trial, len(rows) + 1)
                self.trained[trial.trial_id, row["epoch"]] += 1
                rows.append(row)
            last = row["epoch"] >= setting.spec.max_epochs
            stop = not last and setting.decide(trial, row["epoch"], row["valid_ppl"])
            setting.record(trial, row)
            if last or stop:
                setting.end(trial)
            else:
                live.append((trial, replay))


class Stuck:
    """From some write on, queued writes are lost, and a driver that waits for one dies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.after: float = float("inf")
        self.lost: set[str] = set()
        submit, flush = WriteBehind.submit, WriteBehind.flush
        self.let_arrive = flush

        def counting(behind: WriteBehind, chain: str, name: str, work: Callable[[], None]) -> None:
            self.after -= 1
            if self.after < 0 or chain in self.lost:  # the rest of the chain is lost too
                self.lost.add(chain)
            else:
                submit(behind, chain, name, work)

        def waiting(behind: WriteBehind, chain: str | None = None) -> None:
            flush(behind, chain)
            if chain in self.lost or (chain is None and self.lost):
                raise KilledError

        monkeypatch.setattr(WriteBehind, "submit", counting)
        monkeypatch.setattr(WriteBehind, "flush", waiting)

    def begin(self, after: float) -> None:
        self.after, self.lost = after, set()


def records(setting: SettingSearch) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    epochs = sorted(
        (r["trial_id"], r["epoch"], r["valid_ppl"], r["block"]) for r in setting.ledger.records.read("epochs")
    )
    trials = sorted(
        (r["trial_id"], r["status"], str(r["would_stop_epoch"]), r["num_epochs"], r["best_valid_ppl"], r["lr"])
        for r in setting.ledger.records.read("trials")
    )
    return epochs, trials


def not_evaluated(setting: SettingSearch) -> list[str]:
    """Confirm trials that are complete, and not measured on both splits."""
    confirm = [t for t in setting.ledger.in_block("confirm") if t.status == "complete"]
    return [t.trial_id for t in confirm if {split for _, split, _ in t.evaluations} != {"valid", "test"}]


@pytest.mark.parametrize(("seed", "concurrent"), [(0, 1), (1, 1), (2, 3), (3, 3)])
def test_a_driver_that_dies_with_rows_still_to_write_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, concurrent: int
) -> None:
    actors, stuck = Actors(monkeypatch), Stuck(monkeypatch)
    whole = open_setting(tmp_path / "whole", **BUDGET)
    actors.run(whole, concurrent=1)
    expected = records(whole)
    assert {status for _, status, *_ in expected[1]} == {"complete", "pruned"}

    actors = Actors(monkeypatch)
    draw, deaths = random.Random(seed), 0
    while True:
        stuck.begin(float("inf"))
        setting = open_setting(tmp_path / "killed", **BUDGET)
        assert not not_evaluated(setting)
        if setting.is_finished():
            break
        stuck.begin(draw.randrange(12))
        try:
            actors.run(setting, concurrent=concurrent)
        except KilledError:
            deaths += 1
        stuck.let_arrive(setting.ledger.records.queue)  # what was not lost; a dead driver writes no more
        monkeypatch.setattr(setting.ledger.records, "flush", lambda *_: None)
    assert deaths > 8
    epochs, trials = records(setting)
    assert [row[:2] for row in epochs] == sorted({row[:2] for row in epochs})  # none twice
    assert Counter(row[0] for row in epochs) == {row[0]: row[3] for row in trials}  # none lost
    assert set(actors.trained.values()) == {1}  # and none trained twice
    if concurrent == 1:  # with several at a time the order of reports, and so ASHA and TPE, may differ
        assert (epochs, trials) == expected
    states = [t.state for t in setting.optuna._study.get_trials() if t.user_attrs.get("trial_id")]
    assert all(state.is_finished() for state in states)
    assert len(states) == BUDGET["num_samples"]
    assert Counter(state == TrialState.PRUNED for state in states)[True] == sum(t[1] == "pruned" for t in trials)


def test_starts_and_ends_are_on_record_before_anything_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All queued writes are lost; those that the driver waits for are not."""
    setting = open_setting(tmp_path, **BUDGET)
    monkeypatch.setattr(WriteBehind, "submit", lambda *_: None)
    trial = setting.next_trial()
    assert trial is not None
    setting.job(trial)
    assert [row["status"] for row in read_table(str(tmp_path), "trials").to_pylist()] == ["interrupted"]
    setting.end(trial, error="out of memory")
    assert [row["status"] for row in read_table(str(tmp_path), "trials").to_pylist()] == ["failed"]
