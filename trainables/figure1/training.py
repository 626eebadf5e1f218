"""Section 6.2's experiment: does the augmented loss drive the decoder into the subspace of the word vectors?

Trains a two-layer LSTM language model on loss (6.1), on a short excerpt of the training split that the seed picks,
without regularisation and with word vectors of norm 1, and measures the distance of appendix B between decoder and
embedding. ``figure1.config`` lists what the paper leaves open.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.data.batching import as_tokens, to_streams, windows, zipf_tokens
from trainables.figure1.config import SubspaceConfig
from trainables.figure1.step import SubspaceStep, normalise_rows
from trainables.fused.weights import check_weights, to_cpu
from trainables.models import make_model
from trainables.models.distance import ExplainedShare, subspace_distance
from trainables.recipes import CORPORA
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.training import make_generators


@dataclass(frozen=True, kw_only=True)
class SubspaceEpoch:
    """Measures of one epoch."""

    train_loss: float
    """J, nats per token."""
    augmented_loss: float
    """J_aug alone, nats per token."""
    grad_norm: float
    """Mean over the windows of the gradient's global norm before clipping."""
    explained_share: float
    """Share of the targets' word vectors explained by the hidden states (``ExplainedShare``), each window's own."""


class SubspaceTraining:
    """One run of the experiment.

    Args:
        config: the run.
        train: (N,) token ids of the training split.
        device: where to train.
        dtype: of weights and arithmetic.

    Raises:
        ValueError: if a token is outside the vocabulary or the split is shorter than the excerpt.
    """

    def __init__(
        self,
        config: SubspaceConfig,
        train: np.ndarray | Tensor,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.device = config, torch.device(device)
        self.epoch = 0
        if len(train) < config.num_tokens:
            raise ValueError(
                f"the training split must have num_tokens = {config.num_tokens} at least, got {len(train)}"
            )
        self.first_token = first_token(config, len(train))
        vocab_size = CORPORA[config.corpus].vocab_size
        excerpt = as_tokens(train[self.first_token : self.first_token + config.num_tokens], vocab_size)
        if config.vocabulary == "excerpt":
            words, excerpt = torch.unique(excerpt, return_inverse=True)
            vocab_size = len(words)
        self.vocab_size = vocab_size
        self._streams = to_streams(excerpt, config.batch_size)
        generator, _ = make_generators(config.seed)
        self.model = make_model(
            vocab_size,
            config.hidden_size,
            tie_weights=False,
            init_range=config.init_range or 1.0,
            generator=generator,
            word_major=self.device.type != "cpu",
            device=self.device,
            dtype=dtype,
        )
        with torch.no_grad():
            for parameter in self.model.parameters() if config.init_range is None else ():
                if parameter.dim() == 2:
                    parameter.mul_((6 / sum(parameter.shape)) ** 0.5)
        normalise_rows(self.model.embedding)
        self._step = SubspaceStep(self.model, config)

    def train_epoch(self) -> SubspaceEpoch:
        """Runs epoch ``self.epoch + 1``, from a zero state.

        Raises:
            NonFiniteLossError: if a loss or a gradient is not finite; the weights are then unusable.
        """
        config, epoch = self.config, self.epoch + 1
        state = self._step.zero_state()
        measured = []  # J, J_aug and the gradient's norm of each window
        explained = ExplainedShare()
        for inputs, targets in windows(self._streams, config.bptt, partial=False):
            window, state = self._step.measure(inputs, targets, state)
            values = [float(x) for x in (window.cross_entropy, window.augmented, self._step.clip())]
            measured.append(values)
            lr = config.lr_at(epoch, len(measured))
            explained.add(window.hidden, window.target_vectors)
            if not np.isfinite(values).all():
                raise NonFiniteLossError(
                    f"training diverged: epoch {epoch}, window {len(measured)} of {config.num_windows}: "
                    f"J {values[0]:g}, J_aug {values[1]:g}, gradient norm {values[2]:g}, learning rate {lr:g}"
                )
            self._step.update(lr)
        self.epoch = epoch
        means, tokens_per_window = np.mean(measured, 0), config.batch_size * config.bptt
        return SubspaceEpoch(
            train_loss=float(means[0]) / tokens_per_window,
            augmented_loss=float(means[1]) / tokens_per_window,
            grad_norm=float(means[2]),
            explained_share=explained.value(),
        )

    def subspace_distance(self, *, centred: bool = False) -> float:
        """Appendix B's distance between embedding and decoder; ``centred`` as in ``distance.subspace_distance``."""
        return subspace_distance(self.model.embedding.cpu(), self.model.decoder.cpu(), centred=centred)

    def state_dict(self) -> dict[str, Any]:
        """The state that decides the rest of the run, as plain values and copies of tensors on the CPU."""
        return {
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "model": to_cpu(dict(self.model.named_parameters())),
            "optimizer": {kind: to_cpu(means) for kind, means in self._step.optimizer.state.items()},
            "num_updates": self._step.optimizer.num_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from ``state_dict``; on the CPU, bit for bit as if never interrupted.

        Raises:
            ValueError: if the state is of another run.
        """
        if state["config"] != self.config.to_dict():
            raise ValueError(f"the state must be of this run's config {self.config.to_dict()}, got {state['config']}")
        parameters = dict(self.model.named_parameters())
        check_weights(parameters, state["model"])
        self.model.load_state_dict(state["model"])
        for kind, means in self._step.optimizer.state.items():
            for name, mean in means.items():
                mean.copy_(state["optimizer"][kind][name])
        self._step.optimizer.num_updates = int(state["num_updates"])
        self.epoch = int(state["epoch"])


def first_token(config: SubspaceConfig, num_train_tokens: int) -> int:
    """Position where a run's excerpt begins in the training split, uniformly drawn from the seed."""
    return int(
        np.random.default_rng([config.seed, config.num_tokens]).integers(num_train_tokens - config.num_tokens + 1)
    )


def measure_epoch_s(config: SubspaceConfig, *, num_threads: int, num_windows: int = 4) -> float:
    """Seconds of an epoch: the fastest of a few windows of random tokens, times their number, plus the distances."""
    torch.set_num_threads(num_threads)
    training = SubspaceTraining(
        config, zipf_tokens(CORPORA[config.corpus].vocab_size, config.num_tokens, seed=config.seed)
    )
    state, seconds = training._step.zero_state(), []
    for _, (inputs, targets) in zip(
        range(num_windows), windows(training._streams, config.bptt, partial=False), strict=False
    ):
        start = time.perf_counter()
        window, _ = training._step.measure(inputs, targets, state)
        training._step.clip()
        ExplainedShare().add(window.hidden, window.target_vectors)
        training._step.update(config.lr_at(1, 1))
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    for centred in (False, True):
        training.subspace_distance(centred=centred)
    return min(seconds) * config.num_windows + time.perf_counter() - start
