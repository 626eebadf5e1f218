"""The searcher, scheduler and callback as Tune calls them, without Tune."""

import pickle
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.search.searcher import StudyCallback, StudyScheduler, StudySearcher
from tests.support.studies import SETTING, open_setting, result
from trainables.storage.storage import StorageError


@pytest.fixture
def settings(tmp_path):
    return [
        open_setting(tmp_path, setting=SETTING._replace(variant=v), num_samples=3, num_seeds=1) for v in ("re", "real")
    ]


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
        setting, state = self.searcher.by_tune_id[trial.trial_id]
        report = result(state, state.num_epochs + 1, **more)
        done = report["epoch"] >= setting.spec.max_epochs
        # Tune calls the scheduler, unless the trainable is done, and then the callbacks
        decision = None if done else self.scheduler.on_trial_result(None, trial, report)
        self.callback.on_trial_result(0, [], trial, report)
        trial.last_result = report
        if done or decision == TrialScheduler.STOP:
            self.searcher.on_trial_complete(trial.trial_id, report)
            self.callback.on_trial_complete(0, [], trial)
            self.live.remove(trial)


def test_no_more_than_max_concurrent_trials_at_a_time(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=3))
    jobs = [tune.suggest() for _ in range(5)]
    assert [job is not None for job in jobs] == [True, True, True, False, False]
    while tune.live:
        tune.epoch(tune.live[0])
    assert tune.suggest() is not None


def test_settings_take_turns(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=4))
    jobs = [tune.suggest() for _ in range(4)]
    assert [(job["trial"]["variant"], job["trial_id"]) for job in jobs] == [
        ("re", "default-0000"), ("real", "default-0000"), ("re", "random-0001"), ("real", "random-0001"),
    ]  # fmt: skip


def test_interrupted_trials_come_before_new_ones_of_other_settings(tmp_path, settings):
    tune = Tune(StudySearcher(settings, max_concurrent=2))
    tune.suggest()
    while tune.live:  # the first setting's paper recipe in full
        tune.epoch(tune.live[0])
    assert [tune.suggest()["trial_id"] for _ in range(2)] == ["default-0000", "random-0001"]
    again = [open_setting(tmp_path, setting=c.spec.setting, num_samples=3, num_seeds=1) for c in settings]
    resumed = Tune(StudySearcher(again, max_concurrent=2))
    jobs = [resumed.suggest() for _ in range(2)]
    assert [(job["trial"]["variant"], job["trial_id"]) for job in jobs] == [
        ("real", "default-0000"), ("re", "random-0001"),
    ]  # fmt: skip


def test_all_settings_run_to_their_end(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=2))
    while (job := tune.suggest()) != Searcher.FINISHED:
        assert job is not None or tune.live  # None alone while a trial runs
        while len(tune.live) == 2 or (job is None and tune.live):
            tune.epoch(tune.live[0])
            job = {}
    assert all(setting.is_finished() for setting in settings)


def test_a_failure_ends_the_trial_with_its_reason(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=1))
    tune.suggest()
    (trial,) = tune.live
    _, state = tune.searcher.by_tune_id[trial.trial_id]
    report = {"epoch": 1, "failure": "the loss is nan", "done": True}
    tune.callback.on_trial_result(0, [], trial, report)
    trial.last_result = report
    tune.callback.on_trial_complete(0, [], trial)
    assert (state.status, state.stopped_by, state.error) == ("failed", "non_finite_loss", "the loss is nan")
    assert not state.valid_ppl


def lose(tune, error, text=""):
    """Loses the running trial; returns its state."""
    (trial,) = tune.live
    folder = Path(tempfile.mkdtemp())
    trial.pickled_error_file, trial.error_file = folder / "error.pkl", folder / "error.txt"
    if error is not None:
        trial.pickled_error_file.write_bytes(pickle.dumps(error))
    trial.error_file.write_text(text)
    _, state = tune.searcher.by_tune_id[trial.trial_id]
    tune.live.clear()
    tune.callback.on_trial_error(0, [], trial)
    return state


def test_a_repeated_error_fails_the_trial_with_its_last_line(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=1))
    ids = []
    for _ in range(3):
        ids.append(tune.suggest()["trial_id"])
        state = lose(tune, None, "Traceback ...\nMemoryError: no more\n")
    assert len(set(ids)) == 1
    assert (state.status, state.stopped_by, state.error) == ("failed", "error", "MemoryError: no more")


def test_a_lost_trial_is_retried_from_its_last_epoch(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=1))
    for epoch in range(4):
        assert tune.suggest()["recorded_epochs"] == epoch
        tune.epoch(tune.live[0])
        state = lose(tune, RayActorError())
        assert (state.status, state.running, state.num_epochs) == ("interrupted", False, epoch + 1)


def test_a_trial_that_kills_its_process_every_time_fails(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=1))
    tries = 0
    while True:
        tune.suggest()
        tries += 1
        if lose(tune, RayActorError()).ended:
            break
    assert tries == 10


def test_a_storage_error_of_a_trial_ends_the_run_and_not_the_trial(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=1))
    tune.suggest()
    with pytest.raises(StorageError, match="cannot write x"):
        lose(tune, StorageError("cannot write x: away"))
    (_, state), *_ = tune.searcher.by_tune_id.values()
    assert state.status == "interrupted"


def test_a_trial_that_tune_stops_for_its_own_reasons_stays_open(settings):
    tune = Tune(StudySearcher(settings, max_concurrent=1))
    tune.suggest()
    (trial,) = tune.live
    tune.epoch(trial)
    tune.callback.on_trial_complete(0, [], trial)
    _, state = tune.searcher.by_tune_id[trial.trial_id]
    assert (state.status, state.running) == ("interrupted", False)


def test_tune_may_pickle_its_parts(settings):
    searcher = StudySearcher(settings, max_concurrent=1)
    for part in (searcher, StudyScheduler(searcher), StudyCallback(searcher)):
        pickle.loads(pickle.dumps(part))
