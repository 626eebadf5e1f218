"""The Ray Tune trainable of section 6.2's experiment: one run, one step = one epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune

from trainables.figure1.config import SubspaceConfig
from trainables.figure1.training import SubspaceTraining
from trainables.storage.checkpoint import CheckpointError, CheckpointFolder
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.tune.trainable import take_resources

_SAVE_EVERY_S = 30.0  # a checkpoint is tens of megabytes; epochs since the last one are trained again


@dataclass(frozen=True, kw_only=True)
class SubspaceJob:
    """One run of the grid, passed as plain values in the Tune config."""

    config: dict[str, Any]
    """The ``SubspaceConfig`` as a dict."""
    study: str
    trial_id: str
    storage: str
    """Where checkpoints go: an absolute folder or an ``s3://`` URI."""
    recorded_epochs: int = 0
    """Epochs on record; later ones in the checkpoint are reported again from it."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class SubspaceTrainable(tune.Trainable):
    """Trains one run.

    A step returns its epoch's columns of the ``subspace`` table, and with the last epoch
    (``SubspaceConfig.ends_after``) ``done`` and ``complete``. A loss that is not finite ends the run with ``done`` and
    ``failure``, the reason.

    The checkpoint holds the rows of all its epochs. After a driver's death the next one reports the epochs that were
    saved and not recorded. Epochs that were recorded and not saved are trained again, to the same numbers, and not
    reported.
    """

    def setup(self, config: dict[str, Any], *, train: np.ndarray) -> None:
        """Stores the corpus and restores the run from its last checkpoint, if it has one.

        Args:
            config: a ``SubspaceJob`` as a dict, under ``job``.
            train: token ids of the training split, shape (N,).
        """
        self._train = train
        self._device = take_resources(self)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts another run in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._job = SubspaceJob(**config["job"])
        run = SubspaceConfig.from_dict(self._job.config)
        self._training = SubspaceTraining(run, self._train, device=self._device)
        self._folder = CheckpointFolder(self._job.storage, self._job.study, self._job.trial_id)
        self._rows: list[dict[str, Any]] = []
        self._saved_at = time.monotonic()
        self._folder.sweep()
        if (state := self._folder.load("last")) is not None:
            self._restore(state)
        ended = bool(self._rows) and self._rows[-1]["done"]
        self._replay = self._rows[min(self._job.recorded_epochs, len(self._rows) - ended) :]

    def step(self) -> dict[str, Any]:
        """The next epoch that is not on record."""
        if self._replay:
            return dict(self._replay.pop(0))
        while True:
            try:
                row = self._train_epoch()
            except NonFiniteLossError as error:
                return {"epoch": self._training.epoch + 1, "failure": str(error), "done": True}
            if row["epoch"] > self._job.recorded_epochs or row["done"]:
                return row

    def _train_epoch(self) -> dict[str, Any]:
        started = time.monotonic()
        result = self._training.train_epoch()
        config, epoch = self._training.config, self._training.epoch
        row = {
            "epoch": epoch,
            "first_token": self._training.first_token,
            "vocab_size": self._training.vocab_size,
            "lr": config.lr_at(epoch, config.num_windows),
            **asdict(result),
            "subspace_distance": self._training.subspace_distance(),
            "centred_distance": self._training.subspace_distance(centred=True),
            "epoch_s": time.monotonic() - started,
        }
        self._rows.append(row)
        row["done"] = row["complete"] = config.ends_after([r["subspace_distance"] for r in self._rows])
        if row["done"] or time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self._folder.save("last", self._state())
            self._saved_at = time.monotonic()
        return dict(row)

    def _state(self) -> dict[str, Any]:
        return {"rows": self._rows, "training": self._training.state_dict()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            self._training.load_state_dict(state["training"])
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"the checkpoint of run {self._job.trial_id} cannot be used: {error}") from error
        self._rows = [dict(row) for row in state["rows"]]

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves the run's full state to one file, for Tune."""
        torch.save(self._state(), Path(checkpoint_dir) / "run.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Restores what ``save_checkpoint`` saved."""
        self._restore(torch.load(Path(checkpoint_dir) / "run.pt", map_location="cpu", weights_only=True))
        self._replay = []
