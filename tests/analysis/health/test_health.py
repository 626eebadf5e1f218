"""Each health check with one planted fault, and none on clean records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from analysis.health import CHECKS, OK, PROBLEM, WARNING, Check, check_health
from analysis.records.load import Results
from study.records.records import Setting
from tests.support import memory
from tests.support.synthetic import START
from trainables.recipes import SIZES

SETTINGS = (Setting("ptb", "small", "baseline"), Setting("ptb", "small", "real"))
STUDY = memory.name_of(SETTINGS[1])
LATER = START + timedelta(days=1)
NUM_RANDOM, NUM_TPE = 24, 8


class World:
    """Two finished studies without a fault; tests plant one in the second."""

    def __init__(self) -> None:
        self.trials: list[memory.Row] = []
        self.runs: list[memory.Row] = []
        for i, setting in enumerate(SETTINGS):
            rng = np.random.default_rng(i)
            self.trials.append(memory.trial(setting, "default-0000", 90.0, seed=10_000))
            for n in range(1, 1 + NUM_RANDOM + NUM_TPE):
                block = "random" if n <= NUM_RANDOM else "tpe"
                params: dict[str, Any] = {
                    "drop_prob": rng.uniform(0.1, 0.8), "lr": np.exp(rng.uniform(-1.2, 1.1)),
                    "lr_decay": rng.uniform(0.8, 0.98), "lr_decay_start_epoch": int(rng.integers(1, 21)),
                    "max_grad_norm": rng.uniform(2.0, 15.0), "init_range": rng.uniform(0.02, 0.15),
                }  # fmt: skip
                if n == NUM_RANDOM + NUM_TPE:  # the best, in the middle of everything
                    params = {
                        "drop_prob": 0.4, "lr": 1.0, "lr_decay": 0.9, "lr_decay_start_epoch": 8, "max_grad_norm": 6.0,
                        "init_range": 0.06,
                    }  # fmt: skip
                ppl = 80.0 if n == NUM_RANDOM + NUM_TPE else 84.0 + n
                audit = {"audit": True} if n == NUM_RANDOM + 1 else {}
                self.trials.append(memory.trial(setting, f"{block}-{n:04d}", ppl, seed=10_000 + n, **params, **audit))
            for origin, level in (("paper", 88.0), (f"tpe-{NUM_RANDOM + NUM_TPE:04d}", 80.0)):
                self.trials += memory.confirm(
                    setting, memory.by_seed(level, key=str(setting)), origin=origin, started_at=LATER
                )
            self.runs.append(memory.run(setting, num_samples=1 + NUM_RANDOM + NUM_TPE))

    def results(self) -> Results:
        return memory.results(self.trials, self.runs)

    def change(self, trial_id: str, **columns: Any) -> None:
        """Overwrites columns of the second study's trial whose id begins so."""
        rows = [row for row in self.trials if row["study"] == STUDY and row["trial_id"].startswith(trial_id)]
        assert rows
        for row in rows:
            row.update(columns)

    def drop(self, trial_id: str) -> None:
        """Removes trials of the second study whose id begins so."""
        self.trials = [r for r in self.trials if r["study"] != STUDY or not r["trial_id"].startswith(trial_id)]

    def add(self, trial_id: str, ppl: float, **columns: Any) -> None:
        self.trials.append(memory.trial(SETTINGS[1], trial_id, ppl, **columns))


def faults(world: World) -> dict[str, list[Check]]:
    """The findings that are not ok, by check."""
    found: dict[str, list[Check]] = {}
    for check in check_health(world.results()):
        if check.level != OK:
            found.setdefault(check.name, []).append(check)
    return found


def test_clean_records_have_no_fault() -> None:
    found = check_health(World().results())
    assert [(c.name, c.message) for c in found if c.level != OK] == []
    assert [c.name for c in found] == [check.name for check in CHECKS]
    assert all(c.message for c in found)


def test_no_records_have_no_fault() -> None:
    found = check_health(memory.results())
    assert {(c.level, c.message) for c in found} == {(OK, "nothing on record yet")}
    assert len(found) == len(CHECKS)


def _two(world: World, **columns: Any) -> None:
    world.runs[1].update(columns)


def _again(world: World, **columns: Any) -> None:
    """A second run of the second study, which had fewer seeds at first."""
    world.runs.append(world.runs[1] | {"run": 2} | columns)
    world.runs[1] = world.runs[1] | {"num_seeds": 4}


Plant = Callable[[World], None]
PLANTED: list[tuple[str, str, str, Plant]] = [
    ("equal budgets", PROBLEM, "PTB small: unequal budgets, trials of the search: baseline 33, real 20",
     lambda w: _two(w, num_samples=20)),
    ("equal budgets", PROBLEM, "unequal budgets, epochs of a trial: baseline 40, real 60",
     lambda w: _two(w, max_epochs=60)),
    ("equal budgets", WARNING, "unequal budgets, seeds: baseline 6, real 8", lambda w: _two(w, num_seeds=8)),
    ("unfinished", WARNING, f"{STUDY}: 32 of 33 trials of the search have ended", lambda w: w.drop("random-0003")),
    ("unfinished", WARNING, "32 of 33 trials of the search have ended, under way or interrupted: 1",
     lambda w: w.change("random-0003", status="interrupted", ended_at=None)),
    ("code", WARNING, f"{STUDY}: run from a tree with uncommitted changes", lambda w: _two(w, git_dirty=True)),
    ("code", WARNING, "PTB small: trials of several commits: badcafe, c0ffee",
     lambda w: w.change("tpe-0030", git_commit="badcafe0123")),
    ("code", WARNING, "PTB small: trials of several versions of the arithmetic: 1, 2",
     lambda w: (w.change("", numerics=1), w.change("tpe-0030", numerics=2))),
    ("code", WARNING, "PTB small: trials of no known commit: 1", lambda w: w.change("tpe-0030", git_commit=None)),
    ("software", WARNING, "PTB small: several versions: torch 2.12.1, 2.13.0", lambda w: _two(w, torch="2.12.1")),
    ("corpus", PROBLEM, "ptb: records of 2 different texts: another, sum of ptb",
     lambda w: _two(w, corpus_sha256="another")),
    ("precision", PROBLEM, f"{STUDY}: trials of several precisions: fp32, tf32",
     lambda w: w.change("confirm-paper", precision="tf32")),
    ("precision", WARNING, "PTB small: studies in fp32, tf32", lambda w: w.change("", precision="tf32")),
    ("trial length", WARNING, f"{STUDY}: trials of 6 epochs, the full length is 40",
     lambda w: w.change("", max_epochs=6)),
    ("trial length", WARNING, "trials of 60 epochs, the full length is 80",
     lambda w: w.change("", max_epochs=60, second_session_epoch=31)),
    ("range edge", WARNING, f"{STUDY}: the best trial has lr = 3.1, at the upper edge of",
     lambda w: w.change("tpe-0032", lr=3.1)),
    ("range edge", WARNING, "the best trial has init_range = 0.0201, at the lower edge of",
     lambda w: w.change("tpe-0032", init_range=0.0201)),
    ("range edge", WARNING, "the best trial has lr_decay_start_epoch = 1, at the lower edge of 1 to 20",
     lambda w: w.change("tpe-0032", lr_decay_start_epoch=1)),
    ("failed trials", WARNING, f"{STUDY}: trials of the search that diverged: 9 of 33",
     lambda w: w.change("random-000", status="failed", stopped_by="non_finite_loss")),
    ("failed trials", PROBLEM, "trials of the search that diverged: 24 of 33",
     lambda w: w.change("random-", status="failed", stopped_by="non_finite_loss")),
    ("failed trials", WARNING, "trials that died of an error: 1 (OSError: disk full)",
     lambda w: w.change("random-0004", status="failed", stopped_by="error", error="Traceback\nOSError: disk full\n")),
    ("random draws", WARNING, f"{STUDY}: complete random draws: 14, importance takes 17",
     lambda w: w.change("random-001", status="pruned")),
    ("early stopping", WARNING, "trials that ASHA was kept from stopping and that ended within 1.0 perplexity of the "
     "best: 1 of 1 (tpe-0025); those that it stopped: 0",
     lambda w: w.change("tpe-0025", would_stop_epoch=8, best_valid_ppl=80.4)),
    ("test split", PROBLEM, f"{STUDY}: trials before confirmation that read the test split: 1",
     lambda w: w.change("random-0002", test_ppl=80.0)),
    ("test split", PROBLEM, "the winner was confirmed before tpe-0030 had ended",
     lambda w: w.change("tpe-0030", ended_at=LATER + timedelta(hours=1))),
    ("test split", WARNING, "trials of search or selection begun after the test split had been read: 1",
     lambda w: w.change("tpe-0030", started_at=LATER + timedelta(hours=1), ended_at=LATER + timedelta(hours=2))),
    ("confirmation", PROBLEM, f"{STUDY}: confirm trials that failed or were stopped: 1 of 12",
     lambda w: w.change("confirm-paper-s103", status="failed", stopped_by="non_finite_loss")),
    ("confirmation", WARNING, "confirm trials that have not ended: 1 of 12",
     lambda w: w.change("confirm-paper-s103", status="interrupted", ended_at=None)),
    ("confirmation", WARNING, "complete confirm trials without a test perplexity: 1",
     lambda w: w.change("confirm-paper-s103", test_ppl=None)),
    ("number of seeds", WARNING, f"{STUDY}: seeds of the paper's recipe: 5, exact tests take 6",
     lambda w: w.drop("confirm-paper-s103")),
    ("number of seeds", WARNING, "seeds of tpe-0032: 5, exact tests take 6", lambda w: w.drop("confirm-tpe-0032-s103")),
    ("fresh seeds", PROBLEM, f"{STUDY}: confirm trials on seeds of search or selection: 104",
     lambda w: w.change("random-0009", seed=104)),
    ("paired seeds", WARNING, "PTB small: studies were confirmed on different seeds",
     lambda w: w.change("confirm-paper-s106", seed=206)),
    ("added seeds", WARNING, f"{STUDY}: seeds were raised from 4 to 6 after the first had ended",
     lambda w: _again(w, started_at=LATER + timedelta(days=1))),
    ("duplicates", PROBLEM, f"{STUDY}: several confirm trials of the paper's recipe on one seed: confirm-paper-s101, "
     "confirm-paper-s102", lambda w: w.change("confirm-paper-s102", seed=101)),
    ("duplicates", PROBLEM, "seeds of the paper's recipe with the same perplexities: confirm-paper-s101, "
     "confirm-paper-s102, confirm-paper-s103, confirm-paper-s104 and 2 more",
     lambda w: w.change("confirm-paper", best_valid_ppl=88.0, final_valid_ppl=88.1)),
    ("duplicates", WARNING, "trials of the same configuration and seed: default-0000, tpe-0033",
     lambda w: w.add("tpe-0033", 90.0, seed=10_000)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "level", "message", "plant"), PLANTED)
def test_a_planted_fault_is_found(name: str, level: str, message: str, plant: Plant) -> None:
    world = World()
    plant(world)
    found = [check for check in faults(world).get(name, []) if message in check.message]
    assert len(found) == 1, faults(world)
    assert found[0].level == level
    assert STUDY in found[0].studies


def test_every_check_has_a_planted_fault() -> None:
    assert {name for name, *_ in PLANTED} == {check.name for check in CHECKS}


def test_the_trials_of_a_fault_are_named() -> None:
    world = World()
    world.change("random-0002", test_ppl=80.0)
    found = faults(world)["test split"][0]
    assert (found.studies, found.trials) == ((STUDY,), ((STUDY, "random-0002"),))


def test_the_same_said_of_two_studies_is_said_once() -> None:
    world = World()
    for row in world.trials:
        row["max_epochs"] = 6
    found = faults(world)["trial length"]
    assert [c.message for c in found] == [
        f"{memory.name_of(SETTINGS[0])}, {STUDY}: trials of 6 epochs, the full length is {SIZES['small'].max_epochs}"
    ]
    assert found[0].studies == (memory.name_of(SETTINGS[0]), STUDY)


def test_problems_come_first() -> None:
    world = World()
    world.change("random-0002", test_ppl=80.0)
    world.change("tpe-0030", git_commit=None)
    levels = [check.level for check in check_health(world.results())]
    assert levels == sorted(levels, key=[PROBLEM, WARNING, OK].index)
    assert {PROBLEM, WARNING, OK} == set(levels)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        # ASHA would have stopped it, rightly.
        ("early stopping", lambda w: w.change("tpe-0025", would_stop_epoch=8)),
        # ASHA was free to stop it and did not: no word on what it stopped.
        ("early stopping", lambda w: w.change("tpe-0026", would_stop_epoch=8, best_valid_ppl=80.4)),
        # The paper's recipe alone was trained of one variant: that is no search.
        ("equal budgets", lambda w: _two(w, num_samples=1)),
        # The recipe is confirmed while the search goes on: nothing was chosen.
        ("test split", lambda w: w.change("confirm-paper", started_at=START + timedelta(minutes=1))),
        # Seeds planned before any has ended, in two steps.
        ("added seeds", _again),
        # A best value that the recipe has, at the edge of everything.
        ("range edge", lambda w: w.change("default", best_valid_ppl=70.0, lr_decay_start_epoch=1)),
    ],
)
def test_what_is_no_fault(name: str, plant: Plant) -> None:
    world = World()
    plant(world)
    assert name not in faults(world)


def test_few_random_draws_do_not_tell_a_range() -> None:
    world = World()
    world.trials = [row for row in world.trials if row["block"] != "random" or row["trial_id"] < "random-0010"]
    world.change("tpe-0032", lr=3.1)
    assert "range edge" not in faults(world)


def test_the_text_of_other_records_counts_too() -> None:
    world = World()
    mass = {**SETTINGS[0]._asdict(), "study": "other", "trial_id": "confirm-paper-s101", "corpus_sha256": "another"}
    found = check_health(memory.results(world.trials, world.runs, word_mass=[mass]))
    assert [c.level for c in found if c.name == "corpus"] == [PROBLEM]


def test_half_finished_studies_of_all_kinds_pass_through(example: Results) -> None:
    found = check_health(example)
    assert {check.name for check in found} == {check.name for check in CHECKS}
    studies = {*example.trials["study"], *example.runs["study"]}
    assert {study for check in found for study in check.studies} <= studies


def test_commits_that_share_their_arithmetic_are_no_fault():
    world = World()
    for row in world.trials:
        row["numerics"] = 1
    world.change("tpe-0030", git_commit="badcafe0123")
    assert "code" not in faults(world)
