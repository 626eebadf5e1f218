"""The searcher, scheduler and callback by which Ray Tune runs studies; all three use one ``SettingSearch`` per setting.

The searcher starts trials in the order of the blocks. The scheduler stops trials by ASHA. The callback records every
result in ledger and Optuna, also the last one of a stopped trial, which Tune does not pass to searchers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.search.ledger import TrialRecord
from study.search.setting_search import SettingSearch
from study.search.trial_error import trial_error
from trainables.storage.storage import StorageError

_MOST_ERRORS = 3  # in a row, without an epoch between them
_MOST_LOSSES = 10  # spot machines come and go, but a trial that kills its process every time must end


class NotRestored:
    """A part of Tune that is pickled empty: Tune pickles its parts for its own restore, which is never used."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StudySearcher(NotRestored, Searcher):
    """Gives Tune the trials of all settings, at most ``max_concurrent`` at a time.

    The setting with the fewest trials comes first, so that the variants of an unfinished run have equal budgets. A
    setting that waits for its search to end is skipped, so that no machine is idle.
    """

    def __init__(self, settings: Sequence[SettingSearch], *, max_concurrent: int) -> None:
        super().__init__(metric="best_valid_ppl", mode="min")
        self.settings, self.max_concurrent = list(settings), max_concurrent
        self.by_tune_id: dict[str, tuple[SettingSearch, TrialRecord]] = {}
        self.order: dict[str, int] = {}
        """Tune's trial id -> the number of trials started before."""

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial's job; None if nothing can start now, FINISHED if nothing is left."""
        if sum(setting.num_running for setting in self.settings) >= self.max_concurrent:
            return None
        for setting in sorted(self.settings, key=lambda setting: setting.num_served):
            if trial := setting.next_trial():
                self.by_tune_id[trial_id] = (setting, trial)
                self.order[trial_id] = len(self.order)
                return setting.job(trial).to_dict()
        return Searcher.FINISHED if all(setting.is_finished() for setting in self.settings) else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: the callback records the end, with the last result and the reason."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Saves nothing: the records are the study's state."""


class StudyScheduler(NotRestored, FIFOScheduler):
    """Stops trials as their settings decide, and starts them in the searcher's order."""

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Stops the trial if its setting decides so."""
        setting, state = self._searcher.by_tune_id[trial.trial_id]
        if "valid_ppl" not in result or not setting.decide(state, result["epoch"], result["valid_ppl"]):
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """The first trial that waits for resources."""
        # Not of all trials: most have ended, and Tune calls this at every step.
        pending = [t for t in tune_controller.get_live_trials() if t.status == TuneTrial.PENDING]
        return min(pending, key=lambda trial: self._searcher.order[trial.trial_id], default=None)


class StudyCallback(NotRestored, tune.Callback):
    """Records every result in ledger and Optuna."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher
        self._tries: dict[str, tuple[int, int]] = {}
        """Trial id -> (its epochs when it was last lost, losses in a row at that number of epochs)."""

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Records the epoch; the last one of a stopped trial too."""
        setting, state = self._searcher.by_tune_id[trial.trial_id]
        if "valid_ppl" in result:
            setting.record(state, result)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Ends the trial."""
        setting, state = self._searcher.by_tune_id[trial.trial_id]
        setting.end(state, failure=(trial.last_result or {}).get("failure"))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Retries a lost trial; fails it after ten losses, or three errors of its own, in a row without an epoch.

        Raises:
            StorageError: if the storage was unavailable to the trial, which is not the trial's fault.
        """
        setting, state = self._searcher.by_tune_id[trial.trial_id]
        error = trial_error(trial)
        if error.storage:
            raise StorageError(error.text)
        before, tries = self._tries.get(state.trial_id, (-1, 0))
        tries = tries + 1 if before == state.num_epochs else 1
        self._tries[state.trial_id] = (state.num_epochs, tries)
        if tries >= (_MOST_LOSSES if error.lost else _MOST_ERRORS):
            setting.end(state, error=error.text)
        else:  # retried from its last checkpoint
            setting.end(state)
