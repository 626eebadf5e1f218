"""The searcher, scheduler and callback as Tune calls them, without Tune."""

import pickle
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.searcher import StudyCallback, StudyScheduler, StudySearcher
from tests.study.helpers import CELL, open_cell, result


@pytest.fixture
def cells(tmp_path):
    return [open_cell(tmp_path, cell=CELL._replace(variant=v), num_samples=3, num_seeds=1) for v in ("re", "real")]


class Tune:
    """Just enough of Tune's loop: one epoch of every live trial in turn."""

    def __init__(self, searcher):
        self.searcher, self.scheduler = searcher, StudyScheduler(searcher)
        self.callback, self.live, self.asked = StudyCallback(searcher), [], 0

    def suggest(self):
        self.asked += 1
        job = self.searcher.suggest(f"tune-{self.asked}")
        if isinstance(job, dict):
            self.live.append(SimpleNamespace(trial_id=f"tune-{self.asked}", last_result=None, job=job))
        return job

    def epoch(self, trial, **more):
        cell, state = self.searcher.by_tune_id[trial.trial_id]
        report = result(state, state.num_epochs + 1, **more)
        done = report["epoch"] >= cell.spec.max_epochs
        # Tune asks the scheduler unless the trainable says that it is done, and then tells the callbacks
        decision = None if done else self.scheduler.on_trial_result(None, trial, report)
        self.callback.on_trial_result(0, [], trial, report)
        trial.last_result = report
        if done or decision == TrialScheduler.STOP:
            self.searcher.on_trial_complete(trial.trial_id, report)
            self.callback.on_trial_complete(0, [], trial)
            self.live.remove(trial)


def test_no_more_than_max_concurrent_trials_at_a_time(cells):
    tune = Tune(StudySearcher(cells, max_concurrent=3))
    jobs = [tune.suggest() for _ in range(5)]
    assert [job is not None for job in jobs] == [True, True, True, False, False]
    while tune.live:
        tune.epoch(tune.live[0])
    assert tune.suggest() is not None


def test_cells_take_turns(cells):
    tune = Tune(StudySearcher(cells, max_concurrent=4))
    jobs = [tune.suggest() for _ in range(4)]
    assert [(job["trial"]["variant"], job["trial_id"]) for job in jobs] == [
        ("re", "default-0000"), ("real", "default-0000"), ("re", "random-0001"), ("real", "random-0001"),
    ]  # fmt: skip


def test_interrupted_trials_come_before_new_ones_of_other_cells(tmp_path, cells):
    tune = Tune(StudySearcher(cells, max_concurrent=2))
    tune.suggest()
    while tune.live:  # the first cell's paper recipe in full
        tune.epoch(tune.live[0])
    assert [tune.suggest()["trial_id"] for _ in range(2)] == ["default-0000", "random-0001"]
    again = [open_cell(tmp_path, cell=c.spec.cell, num_samples=3, num_seeds=1) for c in cells]
    resumed = Tune(StudySearcher(again, max_concurrent=2))
    jobs = [resumed.suggest() for _ in range(2)]
    assert [(job["trial"]["variant"], job["trial_id"]) for job in jobs] == [
        ("real", "default-0000"), ("re", "random-0001"),
    ]  # fmt: skip


def test_all_cells_run_to_their_end(cells):
    tune = Tune(StudySearcher(cells, max_concurrent=2))
    while (job := tune.suggest()) != Searcher.FINISHED:
        assert job is not None or tune.live  # it never waits for nothing
        while len(tune.live) == 2 or (job is None and tune.live):
            tune.epoch(tune.live[0])
            job = {}
    assert all(cell.is_finished() for cell in cells)


def test_a_failure_ends_the_trial_with_its_reason(cells):
    tune = Tune(StudySearcher(cells, max_concurrent=1))
    tune.suggest()
    (trial,) = tune.live
    _, state = tune.searcher.by_tune_id[trial.trial_id]
    report = {"epoch": 1, "failure": "the loss is nan", "done": True}
    tune.callback.on_trial_result(0, [], trial, report)
    trial.last_result = report
    tune.callback.on_trial_complete(0, [], trial)
    assert (state.status, state.stopped_by, state.error) == ("failed", "non_finite_loss", "the loss is nan")
    assert not state.valid_ppl


def test_an_error_that_tune_gave_up_on_ends_the_trial_with_its_last_line(cells):
    tune = Tune(StudySearcher(cells, max_concurrent=1))
    tune.suggest()
    (trial,) = tune.live
    trial.get_pickled_error = lambda: None
    trial.get_error = lambda: "Traceback ...\nMemoryError: no more\n"
    _, state = tune.searcher.by_tune_id[trial.trial_id]
    tune.callback.on_trial_error(0, [], trial)
    assert (state.status, state.stopped_by, state.error) == ("failed", "error", "MemoryError: no more")


def test_a_trial_that_tune_stops_for_its_own_reasons_stays_open(cells):
    tune = Tune(StudySearcher(cells, max_concurrent=1))
    tune.suggest()
    (trial,) = tune.live
    tune.epoch(trial)
    tune.callback.on_trial_complete(0, [], trial)
    _, state = tune.searcher.by_tune_id[trial.trial_id]
    assert (state.status, state.running) == ("interrupted", False)


def test_tune_may_pickle_its_parts(cells):
    searcher = StudySearcher(cells, max_concurrent=1)
    for part in (searcher, StudyScheduler(searcher), StudyCallback(searcher)):
        pickle.loads(pickle.dumps(part))
