"""One trial of a study from its first epoch to its last: rows, checkpoints, the best weights, the test split.

The trial's last checkpoint carries the rows of all its finished epochs, so it is the one commit point of an epoch:
whoever dies after it is written, the row is still there. A trial that comes back reports the rows that its study has
not recorded, one per step and without training, and then goes on; searcher, scheduler and records see every epoch
exactly as if nothing had happened.

Who does the arithmetic is not this module's business: a trial of its own (``training.Training``) or a slot among many
(``pack.Pack``).
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
    precision: str = "fp32"
    """Of the matrix products (``precision.py``)."""
    keep_best: bool = False
    """Whether to keep the weights of the best validation epoch."""
    evaluate_test: bool = False
    """Whether to read the test split, once, after the last epoch, with the weights of the best validation epoch.
    Only a confirmation trial may."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class Trained(Protocol):
    """What a trial's numbers are read from, wherever its arithmetic is done."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""

    @property
    def num_params(self) -> int:
        """Trainable parameters."""

    def model_state(self) -> dict[str, torch.Tensor]:
        """The weights, on the CPU."""

    def state_dict(self) -> dict[str, Any]:
        """All that decides the rest of the trial."""

    def subspace_distance(self) -> float | None:
        """Appendix B; None when tied."""

    def peak_memory_bytes(self) -> int:
        """Most memory held so far."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What a trial is evaluated on."""

    valid: np.ndarray
    """Token ids, shape (N,)."""
    test: Callable[[], np.ndarray]
    """Gives the test split's token ids, shape (N,); called by confirmation trials alone."""
    eos_id: int


class TrialRun:
    """The rows and checkpoints of one trial.

    Args:
        job: what the study asks.
        texts: what the trial is evaluated on.
        device: where evaluations of single checkpoints take place.

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
        """What the trial's arithmetic starts from; None for a new trial."""
        self._folder.sweep()
        if state := self._folder.load("last"):
            self.restore(state)
            # A trial that had already ended reports its last epoch again, to end again.
            self._replay = self.rows[min(job.recorded_epochs, self.config.max_epochs - 1) :]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state`` gave."""
        if state["config"] != self.config.to_dict():
            raise CheckpointError(
                f"the checkpoint of trial {self.job.trial_id} belongs to another configuration: "
                f"{state['config']}, not {self.config.to_dict()}"
            )
        self.rows = [dict(row) for row in state["rows"]]
        self.training_state, self._replay = state["training"], []

    def state(self, trained: Trained) -> dict[str, Any]:
        """Everything the trial is, as plain values and CPU tensors."""
        return {"config": self.config.to_dict(), "rows": self.rows, "training": trained.state_dict()}

    def replay(self) -> dict[str, Any] | None:
        """The next epoch that is in the checkpoint and not on record; None if there is none."""
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
            epoch: what training measured, or why it failed.
            valid_loss: nats per token on the validation split.
            seconds: the time since the epoch began.
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
        """Perplexities and token scores of the best validation epoch's weights, one stream, every token counted.

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
    """Split -> perplexity, as what a study records of it: evaluator, split, measure and value of each."""
    return [
        {"evaluator": SINGLE_STREAM, "split": split, "measure": PERPLEXITY, "value": value}
        for split, value in ppl.items()
    ]
