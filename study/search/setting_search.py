"""Starts the trials of one study in the order of its blocks, applies ASHA, and records results and ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from study.records.trials import NON_FINITE_LOSS, PAPER_ORIGIN, SEARCH_BLOCKS, SELECT_SEEDS, is_protected
from study.search.ledger import Ledger, TrialRecord
from study.search.optuna_study import OptunaStudy
from study.search.winner import candidates_of, fresh_trial_id, winner_of
from study.spec.spec import REDUCTION_FACTOR, StudySpec
from trainables.config import TrialConfig
from trainables.storage.checkpoint import CheckpointFolder
from trainables.trial.trial_run import TrialJob


class SettingSearch:
    """The running search of one study."""

    def __init__(self, ledger: Ledger, journal: Path) -> None:
        self.ledger, self.spec = ledger, ledger.spec
        self.optuna = OptunaStudy(ledger, journal)
        self._rungs = Rungs(self.spec)
        for trial in ledger.in_block(*SEARCH_BLOCKS):
            self._rungs.restore(trial)
            if not trial.ended and _is_stopped(trial):  # the driver died before recording its end
                self.end(trial)

    @property
    def num_running(self) -> int:
        """Trials that are being trained, or wait for an actor."""
        return len(self.ledger.running)

    @property
    def num_served(self) -> int:
        """Trials that have ended or are running; not those that were interrupted and wait to be resumed."""
        return self.ledger.num_ended + self.num_running

    def next_trial(self) -> TrialRecord | None:
        """Starts the next trial; None if there is none to start now."""
        trial = next(iter(self.ledger.waiting.values()), None)
        trial = trial or self._next_of_search() or next(self._missing_on_fresh_seeds(), None)
        if trial is not None:
            self.ledger.start(trial)
        return trial

    def is_finished(self) -> bool:
        """Whether every trial of the budget has ended."""
        if self.ledger.running or self.ledger.waiting or any(self._num_missing(block) for block in SEARCH_BLOCKS):
            return False
        return next(self._missing_on_fresh_seeds(), None) is None

    def _num_missing(self, block: str) -> int:
        return max(0, self.spec.num_trials[block] - self.ledger.num_in_block(block))

    def _next_of_search(self) -> TrialRecord | None:
        for block in SEARCH_BLOCKS:
            if self._num_missing(block):
                index = self.ledger.num_in_block(*SEARCH_BLOCKS)
                trial_id = f"{block}-{index:04d}"
                params, number = self.optuna.propose(block, trial_id)
                config = self.spec.config(params, seed=self.spec.trial_seed(trial_id))
                audit = block == "tpe" and self.spec.is_audit(self.ledger.num_in_block("tpe"))
                return TrialRecord(trial_id=trial_id, block=block, config=config, audit=audit, optuna_number=number)
        return None

    def _missing_on_fresh_seeds(self) -> Iterator[TrialRecord]:
        """Trials of the select and confirm blocks still to start.

        The paper's recipe can start at any time. The search's best configurations are known when the search has
        ended, and the winner when the select block has.
        """
        candidates = candidates_of(self.ledger)
        if candidates:
            yield from self._missing("select", candidates, SELECT_SEEDS)
        confirmed = {PAPER_ORIGIN: self.spec.paper}
        if (winner := winner_of(self.ledger, candidates)) is not None:
            confirmed[winner] = candidates[winner]
        yield from self._missing("confirm", confirmed, self.spec.confirm_seeds)

    def _missing(self, block: str, configs: Mapping[str, TrialConfig], seeds: Sequence[int]) -> Iterator[TrialRecord]:
        for origin, config in configs.items():
            for seed in seeds:
                trial_id = fresh_trial_id(block, origin, seed)
                if trial_id not in self.ledger.trials:
                    fresh = dataclasses.replace(config, seed=seed)
                    yield TrialRecord(trial_id=trial_id, block=block, origin=origin, config=fresh)

    def job(self, trial: TrialRecord) -> TrialJob:
        """The job that the trial's actor is given."""
        return TrialJob(
            trial=trial.config.to_dict(),
            study=self.ledger.records.study,
            trial_id=trial.trial_id,
            storage=self.ledger.storage,
            recorded_epochs=trial.num_epochs,
            precision=self.spec.precision,
            keep_best=trial.block == "confirm",
            evaluate_test=trial.block == "confirm",
        )

    def decide(self, trial: TrialRecord, epoch: int, valid_ppl: float) -> bool:
        """Whether ASHA stops the trial after this epoch. For an exempt trial the decision is only recorded."""
        if trial.block not in SEARCH_BLOCKS:
            return False
        if trial.would_stop_epoch is None:
            best = min(valid_ppl, trial.best_valid_ppl_at(epoch))
            if self._rungs.report(trial, epoch, best):
                self.ledger.note_stop(trial, epoch)
        return _may_stop(trial) and trial.would_stop_epoch is not None and epoch >= trial.would_stop_epoch

    def record(self, trial: TrialRecord, result: dict[str, Any]) -> bool:
        """Records an epoch's result; returns False if it was on record already."""
        if not self.ledger.record_epoch(trial, result):
            return False
        self.optuna.report(trial.trial_id, result["epoch"], trial.best_valid_ppl_at(result["epoch"]))
        return True

    def end(self, trial: TrialRecord, *, failure: str | None = None, error: str | None = None) -> None:
        """Ends a trial as failed, pruned or complete; one that is none of these is resumed later."""
        if failure is not None:
            self.ledger.end(trial, "failed", stopped_by=NON_FINITE_LOSS, error=failure)
        elif error is not None:
            self.ledger.end(trial, "failed", stopped_by="error", error=error)
        elif trial.num_epochs >= self.spec.max_epochs:
            self.ledger.end(trial, "complete", stopped_by="max_epochs")
        elif _is_stopped(trial):
            self.ledger.end(trial, "pruned", stopped_by="asha")
        else:  # lost, or stopped by Tune for another reason, such as the time budget
            self.ledger.release(trial)
            return
        self.optuna.tell(trial)
        # After the trial's epochs and end are on record: until then the checkpoint may have the only copy of a row.
        self.ledger.records.queue.submit(trial.trial_id, "delete checkpoint", lambda: self._delete_checkpoint(trial))

    def _delete_checkpoint(self, trial: TrialRecord) -> None:
        CheckpointFolder(self.ledger.storage, self.ledger.records.study, trial.trial_id).delete("last")


def _may_stop(trial: TrialRecord) -> bool:
    return not is_protected(trial.block, trial.audit)


def _is_stopped(trial: TrialRecord) -> bool:
    return _may_stop(trial) and trial.would_stop_epoch in trial.valid_ppl


class Rungs:
    """Ray's ASHA for one setting, by the study's trial ids and epochs.

    A driver that starts again rebuilds the rungs from the records. A trial leaves them at the epoch at which ASHA
    stopped it, or would have.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._asha = ASHAScheduler(
            time_attr="epoch",
            metric="best_valid_ppl",
            mode="min",
            max_t=spec.max_epochs,
            grace_period=spec.grace_period,
            reduction_factor=REDUCTION_FACTOR,
        )
        self._max_epochs = spec.max_epochs
        self._trials: dict[str, Any] = {}
        self._left: set[str] = set()

    def report(self, trial: TrialRecord, epoch: int, best_valid_ppl: float) -> bool:
        """Whether ASHA would stop the trial at this epoch; never at its last."""
        if trial.trial_id in self._left or epoch >= self._max_epochs:
            return False
        stop = self._enter(trial, epoch, best_valid_ppl)
        if stop:
            self._left.add(trial.trial_id)
        return stop

    def restore(self, trial: TrialRecord) -> None:
        """Enters a trial's recorded epochs, without deciding again."""
        last = trial.would_stop_epoch or self._max_epochs - 1
        for epoch in sorted(trial.valid_ppl):
            if epoch <= last:
                self._enter(trial, epoch, trial.best_valid_ppl_at(epoch))
        if trial.ended or trial.would_stop_epoch:
            self._left.add(trial.trial_id)

    def _enter(self, trial: TrialRecord, epoch: int, best_valid_ppl: float) -> bool:
        if trial.trial_id not in self._trials:
            self._trials[trial.trial_id] = SimpleNamespace(trial_id=trial.trial_id)
            self._asha.on_trial_add(None, self._trials[trial.trial_id])
        result = {"epoch": epoch, "best_valid_ppl": best_valid_ppl}
        return self._asha.on_trial_result(None, self._trials[trial.trial_id], result) == TrialScheduler.STOP
