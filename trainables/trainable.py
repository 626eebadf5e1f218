"""The Ray Tune trainable: one trial of a study, one step = one epoch.

The trial's last checkpoint carries the rows of all its finished epochs, so it is the one commit point of an epoch:
whoever dies after it is written, the row is still there. A trial that comes back reports the rows that its study has
not recorded, one per step and without training, and then goes on; searcher, scheduler and records see every epoch
exactly as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from trainables.checkpoint import CheckpointError, CheckpointFolder
from trainables.config import TrialConfig
from trainables.training import NonFiniteLossError, Training


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What a study asks of one trial; travels as the Tune config, as plain values."""

    trial: dict[str, Any]
    """The ``TrialConfig`` as a dict."""
    study: str
    trial_id: str
    """The study's own name for the trial: Tune's changes when the trial is resumed."""
    storage: str
    """Where checkpoints go: an absolute folder or an ``s3://`` URI."""
    recorded_epochs: int = 0
    """Epochs of this trial that the study has on record; later ones are reported again from the checkpoint."""
    keep_best: bool = False
    """Whether to keep the weights of the best validation epoch."""
    evaluate_test: bool = False
    """Whether to read the test split, once, after the last epoch, with the weights of the best validation epoch.
    Only a confirmation trial may."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class VDLSTMTrainable(tune.Trainable):
    """Trains one configuration; see the module's text.

    A step returns the columns of the ``epochs`` table for its epoch, and ``done`` with ``num_params`` on the last.
    A confirmation trial's last step adds ``single_stream_valid_ppl`` and ``test_ppl``. A loss that is not finite
    ends the trial with ``done`` and ``failure``, the reason, and no perplexity.
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
        """Takes the corpus from the object store and the trial from its last checkpoint, if it has one.

        Args:
            config: a ``TrialJob`` as a dict.
            train: token ids, shape (N,).
            valid: token ids, shape (N,).
            test: the reference to the test split's token ids, boxed in a list so that Ray does not resolve it:
                a trial that may not read the test split never holds it.
            eos_id: the id of ``<eos>``.
        """
        self._train, self._valid, self._test, self._eos_id = train, valid, test, eos_id
        # Ray grants a trial its cores; without this, torch would take them all in every trial process.
        cpus = self.trial_resources.required_resources.get("CPU", 1) if self.trial_resources else 1
        torch.set_num_threads(max(1, int(cpus)))
        self._device = torch.device("cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu")
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes over another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._job = TrialJob(**config)
        self._config = TrialConfig.from_dict(self._job.trial)
        self._folder = CheckpointFolder(self._job.storage, self._job.study, self._job.trial_id)
        self._training = Training(self._config, self._train, device=self._device)
        self._rows: list[dict[str, Any]] = []
        self._best_state: dict[str, torch.Tensor] | None = None
        self._replay: list[dict[str, Any]] = []
        if state := self._folder.load("last"):
            self._restore(state)
            # A trial that had already ended reports its last epoch again, to end again.
            first = min(self._job.recorded_epochs, self._config.max_epochs - 1)
            self._replay = self._rows[first:]

    def step(self) -> dict[str, Any]:
        """One epoch: train, evaluate on the validation split, save, report."""
        if self._replay:
            return dict(self._replay.pop(0))
        started = time.monotonic()
        try:
            epoch = self._training.train_epoch()
            valid_loss = self._training.evaluate(self._valid, eos_id=self._eos_id)
            if not math.isfinite(valid_loss):
                raise NonFiniteLossError(f"the validation loss of epoch {self._training.epoch} is {valid_loss}")
            valid_ppl = math.exp(valid_loss)
        except (NonFiniteLossError, OverflowError) as error:
            return {"epoch": len(self._rows) + 1, "failure": str(error), "done": True}
        best_before = self._rows[-1]["best_valid_ppl"] if self._rows else math.inf
        row = {
            "epoch": self._training.epoch,
            "train_loss": epoch.train_loss,
            "train_total_loss": epoch.train_total_loss,
            "valid_ppl": valid_ppl,
            "best_valid_ppl": min(valid_ppl, best_before),
            "lr": self._config.lr_at(self._training.epoch),
            "grad_norm": epoch.grad_norm,
            "tokens_per_s": epoch.num_tokens / epoch.train_s,
            "peak_memory_bytes": self._training.peak_memory_bytes(),
            "subspace_distance": self._training.subspace_distance(),
            "num_params": self._training.num_params,
            "done": self._training.epoch >= self._config.max_epochs,
        }
        if self._job.keep_best and valid_ppl < best_before:
            self._best_state = self._training.model_state()
            self._folder.save("best", {"epoch": self._training.epoch, "model": self._best_state})
        if row["done"] and self._job.evaluate_test:
            row.update(self._evaluate_best())
        row["epoch_s"] = time.monotonic() - started
        self._rows.append(row)
        self._folder.save("last", self._state())
        return dict(row)

    def _evaluate_best(self) -> dict[str, float]:
        """Perplexities of the best validation epoch's weights, one stream, every token counted."""
        best = self._best_state or (self._folder.load("best") or {}).get("model")
        if best is None:
            raise CheckpointError(f"trial {self._job.trial_id} has no best weights to evaluate")
        last = self._training.model_state()
        self._training.load_model_state(best)
        try:
            test = ray.get(self._test[0])
            return {
                name: math.exp(self._training.evaluate(tokens, eos_id=self._eos_id, batch_size=1))
                for name, tokens in (("single_stream_valid_ppl", self._valid), ("test_ppl", test))
            }
        finally:
            self._training.load_model_state(last)

    def _state(self) -> dict[str, Any]:
        return {"config": self._config.to_dict(), "rows": self._rows, "training": self._training.state_dict()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["config"] != self._config.to_dict():
            raise CheckpointError(
                f"the checkpoint of trial {self._job.trial_id} belongs to another configuration: "
                f"{state['config']}, not {self._config.to_dict()}"
            )
        self._training.load_state_dict(state["training"])
        self._rows = [dict(row) for row in state["rows"]]

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune's own way to save: everything the trial is, into one file."""
        torch.save(self._state(), Path(checkpoint_dir) / "trial.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune's own way to load."""
        self._restore(torch.load(Path(checkpoint_dir) / "trial.pt", map_location="cpu", weights_only=True))
        self._replay = []
