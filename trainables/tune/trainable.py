"""The Ray Tune trainable: one trial of a study, one step = one epoch (reports: ``trial_run``)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from trainables.pack.pack import begin_trial
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.trial_run import Texts, TrialJob, TrialRun


class VDLSTMTrainable(tune.Trainable):
    """Trains one configuration.

    A step returns the columns of the ``epochs`` table for its epoch, and ``done`` with ``num_params`` on the last.
    A confirmation trial's last step adds ``evaluations``, a dict for each number measured on its best weights, and
    ``token_scores``, split -> ln p of every token (N,). A loss that is not finite ends the trial with ``done`` and
    ``failure``, the reason, and no perplexity.
    """

    def setup(
        self,
        config: dict[str, Any],
        *,
        train: np.ndarray,
        valid: np.ndarray,
        test: Sequence[Any],
        eos_id: int,
    ) -> None:
        """Stores the corpus and restores the trial from its last checkpoint, if it has one.

        Args:
            config: a ``TrialJob`` as a dict.
            train: token ids, shape (N,).
            valid: token ids, shape (N,).
            test: the reference to the test split's token ids, in a list so that Ray does not resolve it: only
                confirmation trials load the test split.
            eos_id: the id of ``<eos>``.
        """
        self._train = train
        self._texts = Texts(valid=valid, test=lambda: ray.get(test[0]), eos_id=eos_id)
        self._device = take_resources(self)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._run = TrialRun(TrialJob(**config), self._texts, self._device)
        self._begin_training()

    def _begin_training(self) -> None:
        self.__dict__.pop("_training", None)  # free the memory of the trial before
        run = self._run
        self._training = begin_trial(
            run.config, self._train, run.training_state, device=self._device, precision=run.job.precision
        )

    def step(self) -> dict[str, Any]:
        """One epoch: train, evaluate on the validation split, save, report."""
        if (row := self._run.replay()) is not None:
            return row
        started = time.monotonic()
        valid_loss = math.nan
        epoch: Any
        try:
            epoch = self._training.train_epoch()
            valid_loss = self._training.evaluate(self._texts.valid, eos_id=self._texts.eos_id)
        except NonFiniteLossError as error:
            epoch = error
        return self._run.finish_epoch(self._training, epoch, valid_loss, seconds=lambda: time.monotonic() - started)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves the trial's full state to one file, for Tune."""
        torch.save(self._run.state(self._training), Path(checkpoint_dir) / "trial.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Restores what ``save_checkpoint`` saved."""
        self._run.restore(torch.load(Path(checkpoint_dir) / "trial.pt", map_location="cpu", weights_only=True))
        self._begin_training()


def take_resources(trainable: tune.Trainable) -> torch.device:
    """Limits torch to the cores that Ray grants the trainable, and returns the device that it may use."""
    # By default torch uses all cores in every process.
    granted = trainable.trial_resources
    torch.set_num_threads(max(1, int(granted.required_resources.get("CPU", 1) if granted else 1)))
    return torch.device("cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu")
