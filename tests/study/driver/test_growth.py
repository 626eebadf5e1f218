"""The driver's cost of a step does not grow with the number of trials: operations are counted."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import optuna
import pytest
from optuna.samplers import TPESampler
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console

from study.benchmark import driver as driver_benchmark
from study.driver.progress import Progress
from study.records.trials import SEARCH_BLOCKS
from study.search.searcher import StudyScheduler, StudySearcher
from study.search.setting_search import SettingSearch
from tests.support.studies import open_setting, result, run_all, run_epoch

BUDGET: dict[str, Any] = {"num_samples": 12, "max_epochs": 4, "num_seeds": 1}


class Unseen(dict):
    """A dict that refuses iteration."""

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError("iterated over all trials of the study")

    __iter__ = keys = values = items = _refuse  # type: ignore[assignment]


def test_no_step_iterates_over_all_trials(tmp_path: Path) -> None:
    setting = open_setting(tmp_path, **BUDGET)
    run_all(setting, stop_after=30)
    setting = open_setting(tmp_path, **BUDGET)
    progress = Progress(StudySearcher([setting], max_concurrent=2), Console(file=io.StringIO()))
    searcher = StudySearcher([setting], max_concurrent=2)
    setting.ledger.trials = Unseen(setting.ledger.trials)
    assert len(setting.ledger.trials) > 5
    while (job := searcher.suggest(f"t{len(searcher.order)}")) != StudySearcher.FINISHED:
        if job is None:
            trial = next(iter(setting.ledger.running.values()))
            run_epoch(setting, trial, trial.num_epochs + 1)
        progress._state(setting)
        setting.is_finished()
    assert len(setting.ledger.trials) == 24


def test_the_sums_that_are_kept_are_those_of_the_trials(tmp_path: Path) -> None:
    """During a study, after resuming it, and with a failed and a released trial."""
    setting = open_setting(tmp_path, **BUDGET)
    check_sums(setting)
    failed, released = setting.next_trial(), setting.next_trial()
    assert failed is not None
    assert released is not None
    setting.end(failed, error="out of memory")
    setting.end(released)
    check_sums(setting)
    assert setting.next_trial() is released
    for epochs in (7, 9, 1000):
        run_all(setting, concurrent=2, stop_after=epochs)
        check_sums(setting)
        setting = open_setting(tmp_path, **BUDGET)
        check_sums(setting)
    assert setting.is_finished()


def check_sums(setting: SettingSearch) -> None:
    kept, trials = setting.ledger, list(setting.ledger.trials.values())
    assert setting.num_running == sum(t.running for t in trials)
    assert setting.num_served == sum(t.ended or t.running for t in trials)
    assert set(kept.waiting) == {t.trial_id for t in trials if not t.ended and not t.running}
    assert kept.num_ended == sum(t.ended for t in trials)
    assert kept.num_epochs == sum(t.num_epochs for t in trials)
    for status in ("complete", "pruned", "failed"):
        assert kept.num_of_status(status) == sum(t.status == status for t in trials)
    for block in ("default", "random", "tpe", "select", "confirm"):
        assert kept.in_block(block) == [t for t in trials if t.block == block]
        assert kept.num_in_block(block) == len(kept.in_block(block))
        assert kept.is_open(block) == any(not t.ended for t in kept.in_block(block))
    searched = [t.best_valid_ppl for t in trials if t.valid_ppl and t.block in SEARCH_BLOCKS]
    assert kept.best_valid_ppl == min(searched, default=float("inf"))
    complete = [t for t in trials if t.status == "complete" and t.block in SEARCH_BLOCKS]
    assert list(kept.ranked) == sorted(complete, key=lambda t: (t.best_valid_ppl, t.trial_id))


def test_the_scheduler_takes_the_first_live_trial_that_is_pending(tmp_path: Path) -> None:
    searcher = StudySearcher([open_setting(tmp_path, **BUDGET)], max_concurrent=3)
    names = ["c", "a", "b"]
    for name in names:
        assert isinstance(searcher.suggest(name), dict)
    status = {"c": TuneTrial.RUNNING, "a": TuneTrial.PENDING, "b": TuneTrial.PENDING}
    trials = [SimpleNamespace(trial_id=name, status=status[name]) for name in reversed(names)]
    tune = SimpleNamespace(get_live_trials=lambda: trials)  # and no get_trials: it holds those that have ended too
    chosen = StudyScheduler(searcher).choose_trial_to_run(tune)
    assert chosen is not None
    assert chosen.trial_id == "a"
    trials = trials[-1:]  # the one that runs
    assert StudyScheduler(searcher).choose_trial_to_run(tune) is None


def test_rows_of_trials_that_have_ended_are_not_kept(tmp_path: Path) -> None:
    setting = open_setting(tmp_path, **BUDGET)
    run_all(setting)
    assert not any(trial.rows for trial in setting.ledger.trials.values())


def test_tpe_draws_what_optunas_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The given space and the cached points must not change a draw."""
    setting = open_setting(tmp_path, num_samples=30, max_epochs=2, num_seeds=0)
    drawn = 0
    while (trial := setting.next_trial()) is not None:
        for epoch in (1, 2):
            if not trial.ended:
                run_epoch(setting, trial, epoch)
        if trial.block != "tpe" or drawn == 5:
            continue
        drawn += 1
        optunas = setting.optuna
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            plain = TPESampler(n_startup_trials=10, multivariate=True, constant_liar=True, seed=drawn)
        ours = optunas._sampler("tpe", drawn)
        study, points = optunas._study, []
        for sampler in (plain, ours):
            study.sampler = sampler
            asked = study.ask(optunas._space)
            points.append(asked.params)
            study.tell(asked.number, state=optuna.trial.TrialState.FAIL)  # TPE leaves failed trials out
        assert points[0] == points[1]
    assert drawn == 5
    spaces: list[object] = []
    monkeypatch.setattr(
        optuna.search_space.IntersectionSearchSpace, "calculate", lambda *a, **k: spaces.append(a) or {}
    )
    setting.optuna.propose("tpe", "tpe-more")
    assert not spaces


def test_a_trials_point_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = open_setting(tmp_path, num_samples=24, max_epochs=1, num_seeds=0)
    looked = []
    kind = optuna.distributions.FloatDistribution
    original = kind.to_internal_repr

    def counting(self, value):
        looked.append(value)
        return original(self, value)

    monkeypatch.setattr(kind, "to_internal_repr", counting)
    counts = []
    while (trial := setting.next_trial()) is not None:
        counts.append(len(looked))
        setting.record(trial, result(trial, 1))
        setting.end(trial)
    each = [after - before for before, after in zip(counts[-6:], counts[-5:], strict=False)]
    assert max(each) <= each[0] + 2  # of the new trial alone, however many there are
    assert max(each) < 30


def test_the_drivers_benchmark_prints_a_line_for_each_stretch(capfd: pytest.CaptureFixture[str]) -> None:
    assert driver_benchmark.main(["--without-tune", "--num-samples", "4", "--max-epochs", "2", "--latency", "1"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["trials", "reports"]
    trials, reports = map(int, lines[1].split()[:2])
    assert trials in (14, 16, 18, 20, 22, 24)  # a tpe trial may be stopped, and the paper's recipe may win
    assert trials < reports <= 2 * trials
    assert lines[2].startswith("opened again with its journal: ")
    assert lines[3].startswith("opened again without it: ")
