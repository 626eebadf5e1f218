"""One trial of a study from its first epoch to its last: rows, checkpoints, the best weights, the test split.

The trial's last checkpoint has the rows of all its finished epochs: an epoch is committed when it is written. A resumed
trial first reports the rows that its study has not recorded, one per step and without training; searcher, scheduler and
records get every epoch as without the interruption.

The training itself is done elsewhere: by a trial alone (``training.Training``) or in a slot (``pack.Pack``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch

from trainables.config import TrialConfig
from trainables.data.batching import as_tokens
from trainables.fused.precision import use_precision
from trainables.models import build_model
from trainables.recipes import PERPLEXITY, SINGLE_STREAM
from trainables.storage.checkpoint import CheckpointError, CheckpointFolder
from trainables.trial.epoch_result import EpochResult, NonFiniteLossError
from trainables.trial.evaluation import token_log_probs


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """One trial of a study, passed as plain values in the Tune config."""

    trial: dict[str, Any]
    """The ``TrialConfig`` as a dict."""
    study: str
    trial_id: str
    """The study's id of the trial; Tune's id changes when the trial is resumed."""
    storage: str
    """Where checkpoints go: an absolute folder or an ``s3://`` URI."""
    recorded_epochs: int = 0
    """Epochs of this trial on record; later ones in the checkpoint are reported again from it."""
    precision: str = "fp32"
    """Of the matrix products (``precision.py``)."""
    keep_best: bool = False
    """Whether to save the weights of the best validation epoch."""
    evaluate_test: bool = False
    """Whether to read the test split, once, after the last epoch, with the weights of the best validation epoch.
    Only a confirmation trial may."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class Trained(Protocol):
    """The read-outs of a trial in training: ``Training`` or ``pack.PackSlot``."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""

    @property
    def num_params(self) -> int:
        """Trainable parameters."""

    def model_state(self) -> dict[str, torch.Tensor]:
        """The weights, on the CPU."""

    def state_dict(self) -> dict[str, Any]:
        """The state that decides the rest of the trial."""

    def subspace_distance(self) -> float | None:
        """Appendix B's distance; None when tied."""

    def peak_memory_bytes(self) -> int:
        """Most memory held so far."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The splits that a trial is evaluated on."""

    valid: np.ndarray
    """Token ids, shape (N,)."""
    test: Callable[[], np.ndarray]
    """Returns the test split's token ids, shape (N,); called for confirmation trials only."""
    eos_id: int


class TrialRun:
    """The rows and checkpoints of one trial.

    Args:
        job: the trial.
        texts: the splits that it is evaluated on.
        device: where its best weights are evaluated.

    Raises:
        CheckpointError: if the trial's checkpoint is damaged or belongs to another configuration.
    """

    def __init__(self, job: TrialJob, texts: Texts, device: torch.device) -> None:
        self.job, self.config = job, TrialConfig.from_dict(job.trial)
        self._texts, self._device = texts, device
        self._folder = CheckpointFolder(job.storage, job.study, job.trial_id)
        self.rows: list[dict[str, Any]] = []
        self._best_state: dict[str, torch.Tensor] | None = None
        self._replay: list[dict[str, Any]] = []
        self.training_state: dict[str, Any] | None = None
        """State to resume training from; None for a new trial."""
        self._folder.sweep()
        if state := self._folder.load("last"):
            self.restore(state)
            # A trial that had already ended reports its last epoch again.
            self._replay = self.rows[min(job.recorded_epochs, self.config.max_epochs - 1) :]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned."""
        if state["config"] != self.config.to_dict():
            raise CheckpointError(
                f"the checkpoint of trial {self.job.trial_id} belongs to another configuration: "
                f"{state['config']}, not {self.config.to_dict()}"
            )
        self.rows = [dict(row) for row in state["rows"]]
        self.training_state, self._replay = state["training"], []

    def state(self, trained: Trained) -> dict[str, Any]:
        """The trial's full state, as plain values and CPU tensors."""
        return {"config": self.config.to_dict(), "rows": self.rows, "training": trained.state_dict()}

    def replay(self) -> dict[str, Any] | None:
        """The row of the next epoch in the checkpoint that is not on record; None without one."""
        return dict(self._replay.pop(0)) if self._replay else None

    def failure(self, error: Exception) -> dict[str, Any]:
        """The report of a trial whose loss or perplexity is not a finite number."""
        return {"epoch": len(self.rows) + 1, "failure": str(error), "done": True}

    def finish_epoch(
        self,
        trained: Trained,
        epoch: EpochResult | NonFiniteLossError,
        valid_loss: float,
        *,
        seconds: Callable[[], float],
    ) -> dict[str, Any]:
        """Makes the epoch's row, saves, and returns the row to report.

        Args:
            trained: the trial after the epoch.
            epoch: the measures of training, or its failure.
            valid_loss: nats per token on the validation split.
            seconds: returns the time since the epoch began.
        """
        if isinstance(epoch, NonFiniteLossError):
            return self.failure(epoch)
        if not math.isfinite(valid_loss):
            return self.failure(NonFiniteLossError(f"the validation loss of epoch {trained.epoch} is {valid_loss}"))
        try:
            valid_ppl = math.exp(valid_loss)
        except OverflowError:
            return self.failure(NonFiniteLossError(f"the validation loss of epoch {trained.epoch} is {valid_loss:g}"))
        best_before = self.rows[-1]["best_valid_ppl"] if self.rows else math.inf
        row = {
            "epoch": trained.epoch,
            "train_loss": epoch.train_loss,
            "train_total_loss": epoch.train_total_loss,
            "valid_ppl": valid_ppl,
            "best_valid_ppl": min(valid_ppl, best_before),
            "lr": self.config.lr_at(trained.epoch),
            "grad_norm": epoch.grad_norm,
            "tokens_per_s": epoch.num_tokens / epoch.train_s,
            "peak_memory_bytes": trained.peak_memory_bytes(),
            "subspace_distance": trained.subspace_distance(),
            "num_params": trained.num_params,
            "done": trained.epoch >= self.config.max_epochs,
        }
        if self.job.keep_best and valid_ppl < best_before:
            self._best_state = trained.model_state()
            self._folder.save("best", {"epoch": trained.epoch, "model": self._best_state})
        if row["done"] and self.job.evaluate_test:
            try:
                row.update(self._evaluate_best())
            except NonFiniteLossError as error:
                return self.failure(error)
        row["epoch_s"] = seconds()
        self.rows.append(row)
        self._folder.save("last", self.state(trained))
        return dict(row)

    def _evaluate_best(self) -> dict[str, Any]:
        """Evaluates the best validation epoch's weights in one stream: perplexities and token scores.

        Raises:
            NonFiniteLossError: if a perplexity is not a finite number.
        """
        best = self._best_state or (self._folder.load("best") or {}).get("model")
        if best is None:
            raise CheckpointError(f"trial {self.job.trial_id} has no best weights to evaluate")
        model = build_model(self.config, device=self._device)
        model.load_state_dict(best)
        texts = {"valid": self._texts.valid, "test": self._texts.test()}
        with use_precision("fp32", self._device):
            scores = {
                split: token_log_probs(model, as_tokens(text, self.config.vocab_size), eos_id=self._texts.eos_id)
                for split, text in texts.items()
            }
        ppl = {split: float(torch.exp(-each.mean(dtype=torch.float64))) for split, each in scores.items()}
        if not all(map(math.isfinite, ppl.values())):
            raise NonFiniteLossError(f"the perplexities of the best weights are {ppl}")
        return {"evaluations": single_stream_rows(ppl), "token_scores": scores}


def single_stream_rows(ppl: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of the ``evaluations`` table (evaluator, split, measure, value) from split -> perplexity."""
    return [
        {"evaluator": SINGLE_STREAM, "split": split, "measure": PERPLEXITY, "value": value}
        for split, value in ppl.items()
    ]
