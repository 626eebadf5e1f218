"""One setting's Optuna study: proposes parameters, stores every epoch, and is reconciled with the records when opened.

Ray's ``OptunaSearch`` is not used: it marks trials stopped by ASHA as complete, leaves trials with a NaN running,
drops a stopped trial's last epoch, and takes the last epoch as the objective. Here a stopped trial is PRUNED, a failed
one FAIL, the objective is the best validation perplexity so far, and a second ``tell`` does nothing.

The journal (``study.records.journal``) can be lost: the study is rebuilt from the Parquet tables.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.records.journal import open_journal
from study.records.trials import SEARCH_BLOCKS
from study.search.ledger import Ledger
from study.search.ledger import TrialRecord as Trial
from study.spec.spaces import paper_params, search_space

_FINAL = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class OptunaStudy:
    """Proposes the search trials of one setting."""

    def __init__(self, ledger: Ledger, journal: Path) -> None:
        """Opens the setting's study and reconciles it with the ledger: only trials to be resumed stay RUNNING."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ledger, self._spec = ledger, ledger.spec
        self._space = search_space(ledger.spec.setting)
        # The name is explicit: without it every study of a journal would be the same one.
        self._study = optuna.create_study(
            study_name=ledger.spec.name, storage=open_journal(journal), direction="minimize", load_if_exists=True
        )
        self._open: dict[str, optuna.Trial] = {}
        self._seen: dict[int, tuple[float, ...]] = {}
        self._reported: dict[str, set[int]] = {}
        """Open trial -> the epochs reported to Optuna."""
        self._reconcile()

    def propose(self, block: str, trial_id: str) -> tuple[dict[str, Any], int]:
        """The parameters of a new search trial, and Optuna's number for it."""
        # A sampler per trial: a study that starts again does not draw the same points again, and a random trial's
        # point depends on its id alone.
        self._study.sampler = self._sampler(block, self._spec.trial_seed(trial_id))
        trial = self._study.ask(self._space)
        trial.set_user_attr("trial_id", trial_id)
        trial.set_user_attr("block", block)
        self._open[trial_id], self._reported[trial_id] = trial, set()
        return {name: trial.params[name] for name in self._space}, trial.number

    def report(self, trial_id: str, epoch: int, best_valid_ppl: float) -> None:
        """Reports the best validation perplexity up to an epoch, once per epoch."""
        trial = self._open.get(trial_id)
        if trial is not None and epoch not in self._reported[trial_id]:
            trial.report(best_valid_ppl, epoch)
            self._reported[trial_id].add(epoch)

    def tell(self, trial: Trial) -> None:
        """Ends a trial with its status in the ledger; does nothing the second time."""
        if (asked := self._open.pop(trial.trial_id, None)) is None:
            return
        del self._reported[trial.trial_id]
        value = trial.best_valid_ppl if trial.status == "complete" else None
        self._study.tell(asked.number, value, state=_FINAL[trial.status], skip_if_finished=True)

    def _sampler(self, block: str, seed: int) -> BaseSampler:
        if block == "random":
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if block == "default":
                # Not enqueue_trial: if the driver dies, the queued point would go to a trial of another block.
                return PartialFixedSampler(paper_params(self._spec.setting), RandomSampler(seed=seed))
            # The random block is TPE's start-up. constant_liar keeps concurrent trials apart.
            return _FixedSpaceTPE(
                self._space,
                self._seen,
                n_startup_trials=min(10, 1 + self._spec.num_random),
                multivariate=True,
                constant_liar=True,
                seed=seed,
            )

    def _reconcile(self) -> None:
        known: set[str | None] = set()
        for frozen in self._study.get_trials(deepcopy=False):
            trial_id = frozen.user_attrs.get("trial_id")
            trial = self._ledger.trials.get(trial_id) if trial_id else None
            if frozen.state.is_finished():
                known.add(trial_id)
            elif trial is None:
                # The driver died between Optuna's proposal and the record: this trial never runs, and the next one of
                # the block takes its id.
                optuna.Trial(self._study, frozen._trial_id).set_user_attr("trial_id", "")
                self._study.tell(frozen.number, state=TrialState.FAIL)
            else:
                known.add(trial_id)
                self._adopt(frozen, trial)
        for trial in self._ledger.in_block(*SEARCH_BLOCKS):
            if trial.trial_id not in known:
                self._rebuild(trial)

    def _adopt(self, frozen: FrozenTrial, trial: Trial) -> None:
        """Resumes a trial that an earlier driver left open."""
        self._open[trial.trial_id] = optuna.Trial(self._study, frozen._trial_id)
        self._reported[trial.trial_id] = set(frozen.intermediate_values)
        for epoch in sorted(set(trial.valid_ppl) - set(frozen.intermediate_values)):
            self.report(trial.trial_id, epoch, trial.best_valid_ppl_at(epoch))
        if trial.ended:
            self.tell(trial)

    def _rebuild(self, trial: Trial) -> None:
        """Adds a recorded trial that the journal lacks."""
        params = self._spec.params(trial.config)
        attributes = {"trial_id": trial.trial_id, "block": trial.block}
        self._study.add_trial(
            create_trial(
                state=_FINAL.get(trial.status, TrialState.RUNNING),
                value=trial.best_valid_ppl if trial.status == "complete" else None,
                params=params,
                distributions=self._space,
                user_attrs=attributes,
                intermediate_values={e: trial.best_valid_ppl_at(e) for e in sorted(trial.valid_ppl)},
            )
        )
        frozen = self._study.get_trials(deepcopy=False)[-1]
        trial.optuna_number = frozen.number
        if not trial.ended:
            self._open[trial.trial_id] = optuna.Trial(self._study, frozen._trial_id)
            self._reported[trial.trial_id] = set(frozen.intermediate_values)


class _FixedSpaceTPE(TPESampler):
    """TPE with the same draws in a third of the time: it does not go through all trials' parameters for each.

    Args:
        space: of all the study's trials, which ``TPESampler`` would infer.
        seen: trial number -> its point in Optuna's internal representation; missing ones are filled in.
        **settings: of ``TPESampler``.
    """

    def __init__(self, space: dict[str, BaseDistribution], seen: dict[int, tuple[float, ...]], **settings: Any) -> None:
        super().__init__(**settings)
        self._fixed_space = {name: space[name] for name in sorted(space) if not space[name].single()}
        self._seen = seen

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together: all of them."""
        return dict(self._fixed_space)

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, np.ndarray]:
        # A private method of Optuna: if it is renamed, this override is not called, and only speed is lost.
        for trial in trials:
            if trial.number not in self._seen and search_space.keys() <= trial.params.keys():
                params = trial.params
                self._seen[trial.number] = tuple(d.to_internal_repr(params[name]) for name, d in search_space.items())
        points = [self._seen[trial.number] for trial in trials if trial.number in self._seen]
        columns = zip(*points, strict=True) if points else [()] * len(search_space)
        return {name: np.asarray(column) for name, column in zip(search_space, columns, strict=True)}
