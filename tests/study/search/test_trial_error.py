"""The errors of trials, from real runs of Tune."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ray import tune

from study.driver.ray_session import StudyError, fit, ray_session
from study.search.trial_error import TrialError, trial_error
from tests.support.processes import machine
from trainables.storage.storage import StorageError


class Failing(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        if config["how"] == "setup":
            raise StorageError("cannot read last.pt: away")

    def step(self) -> dict[str, Any]:
        if self.config["how"] == "storage":
            raise StorageError("cannot write last.pt: away")
        if self.config["how"] == "exit":
            os._exit(1)
        raise ValueError("a fault of the trial's own")


class Errors(tune.Callback):
    def __init__(self) -> None:
        self.seen: dict[str, TrialError] = {}

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.seen[trial.config["how"]] = trial_error(trial)


@pytest.mark.slow
def test_each_kind_of_error_is_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = Errors()
    with machine() as here:
        monkeypatch.setenv("RAY_TMPDIR", str(here.folder))
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        with ray_session("local"):
            assert os.environ["RAY_AUTH_MODE"] == "token"  # nobody on the network may run code here
            space = {"how": tune.grid_search(["setup", "storage", "exit", "value"])}
            fit(Failing, callbacks=[errors], param_space=space, max_concurrent_trials=2)
    assert errors.seen["setup"] == TrialError(text="cannot read last.pt: away", storage=True)
    assert errors.seen["storage"] == TrialError(text="cannot write last.pt: away", storage=True)
    assert errors.seen["value"] == TrialError(text="ValueError: a fault of the trial's own")
    assert errors.seen["exit"].lost


class Refusing(tune.Callback):
    def __init__(self, error: Exception) -> None:
        self._error = error

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        raise self._error


@pytest.mark.slow
@pytest.mark.parametrize("error", [StorageError("cannot write x: away"), StudyError("taken over")])
def test_an_error_raised_by_a_callback_is_not_wrapped(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with machine() as here:
        monkeypatch.setenv("RAY_TMPDIR", str(here.folder))
        with ray_session("local"), pytest.raises(type(error), match=str(error)):
            fit(Failing, callbacks=[Refusing(error)], param_space={"how": "value"})
