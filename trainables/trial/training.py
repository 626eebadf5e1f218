"""One trial's training: epochs, evaluation, checkpoint state."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.data.batching import as_tokens, num_windows, to_streams, windows
from trainables.fused import supports
from trainables.fused.precision import trial_precision, use_precision
from trainables.fused.single import Step
from trainables.fused.weights import check_weights, to_cpu
from trainables.models import build_model
from trainables.models.distance import subspace_distance
from trainables.trial.epoch_result import EpochResult, divergence, epoch_result, windows_per_check
from trainables.trial.evaluation import nats_per_token
from trainables.trial.plain_step import PlainStep


class Training:
    """One trial's training loop, by the fused step if it supports the trial, else by autograd.

    Random numbers come from the trial's two CPU generators, one for the weights and one for the masks, both seeded from
    ``config.seed``; the global generator is not used.

    Args:
        config: the trial.
        train: (N,) token ids of the training split.
        device: where to train.
        dtype: of weights and arithmetic.
        precision: of the matrix products (``precision.py``); None for the trial's default on the device.

    Raises:
        ValueError: if a token is outside the vocabulary, the split does not fill one window, or the precision is not
            supported.
    """

    def __init__(
        self,
        config: TrialConfig,
        train: np.ndarray | Tensor,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        precision: str | None = None,
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.precision = trial_precision(config, precision, self.device)
        self.epoch, self._dtype = 0, dtype
        self._streams = training_streams(train, config)
        self._num_windows = num_windows(self._streams.numel(), config.batch_size, config.bptt)
        weight_generator, self._mask_generator = make_generators(config.seed)
        word_major = self.device.type != "cpu"
        self.model = build_model(
            config, generator=weight_generator, word_major=word_major, device=self.device, dtype=dtype
        )
        with use_precision(self.precision, self.device):  # the step's buffers depend on it
            self._step: Any = (Step if supports(config) else PlainStep)(self.model, config)

    @property
    def num_params(self) -> int:
        """Trainable parameters."""
        return self.model.num_params

    def train_epoch(self) -> EpochResult:
        """Runs epoch ``self.epoch + 1`` at its learning rate, from a zero state (zaremba2014).

        Raises:
            NonFiniteLossError: if a loss or a gradient is not finite; the weights are then unusable.
        """
        config = self.config
        epoch = self.epoch + 1
        lr = config.lr_at(epoch)
        start = time.perf_counter()
        state, dropout = self._step.zero_state(), self.model.dropout
        assert dropout is not None
        # J, J_aug and the gradient's norm of each window
        measured = torch.empty(self._num_windows, 3, dtype=self._dtype, device=self.device)
        interval = windows_per_check(self.device)
        checked = 0
        for index, (inputs, targets) in enumerate(windows(self._streams, config.bptt, partial=False)):
            kept = dropout.draw(config.batch_size, config.bptt, self._mask_generator)
            with use_precision(self.precision, self.device):
                cross_entropy, augmented, state = self._step.gradients(inputs, targets, kept, state)
                norm = self._step.update(lr)
            measured[index, 0], measured[index, 1], measured[index, 2] = cross_entropy, augmented, norm
            if (index + 1) % interval == 0 or index + 1 == self._num_windows:
                self._check(measured[checked : index + 1], epoch, checked)
                checked = index + 1
        self.epoch = epoch
        return epoch_result(measured, config, train_s=time.perf_counter() - start)

    def _check(self, measured: Tensor, epoch: int, first_window: int) -> None:
        error = divergence(measured, self.config, epoch=epoch, first_window=first_window, num_windows=self._num_windows)
        if error is not None:
            raise error

    def evaluate(self, tokens: np.ndarray | Tensor, *, eos_id: int, batch_size: int = 20) -> float:
        """Nats per token of a text in fp32: dropout off, state carried, every token counted (zaremba2014).

        Args:
            tokens: (N,) token ids.
            eos_id: id of ``<eos>``, the context of the first token.
            batch_size: streams, each starting from a zero state; 1 is the single-stream evaluation.

        Raises:
            ValueError: if a token is outside the vocabulary, or there is none.
        """
        text = as_tokens(tokens, self.config.vocab_size)
        with use_precision("fp32", self.device):
            return nats_per_token(self.model, text, eos_id=eos_id, batch_size=batch_size)

    def subspace_distance(self) -> float | None:
        """Appendix B's distance between embedding and decoder; None when tied."""
        if self.model.outputs.tied:
            return None
        return subspace_distance(self.model.embedding.cpu(), self.model.decoder.cpu())

    def state_dict(self) -> dict[str, Any]:
        """The state that decides the rest of the trial, as plain values and copies of tensors on the CPU."""
        return {
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "model": self.model_state(),
            "mask_generator": self._mask_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from ``state_dict``; on the CPU, bit for bit as if never interrupted.

        Raises:
            ValueError: if the state is of another trial. A longer ``max_epochs`` is the same trial.
        """
        check_same_trial(self.config, state)
        check_weights(dict(self.model.named_parameters()), state["model"])
        self.model.load_state_dict(state["model"])
        self._mask_generator.set_state(state["mask_generator"])
        self.epoch = int(state["epoch"])

    def model_state(self) -> dict[str, Tensor]:
        """The weights, copied to the CPU."""
        return to_cpu(dict(self.model.named_parameters()))

    def peak_memory_bytes(self) -> int:
        """As the function ``peak_memory_bytes``."""
        return peak_memory_bytes(self.device)


def make_generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """The CPU generators of the weights and of the masks."""
    weight_seed, mask_seed = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    return (
        torch.Generator().manual_seed(int(weight_seed >> np.uint64(1))),
        torch.Generator().manual_seed(int(mask_seed >> np.uint64(1))),
    )


def check_same_trial(config: TrialConfig, state: Mapping[str, Any]) -> None:
    """Checks that a state was taken from this trial.

    Raises:
        ValueError: if it was not. Another ``max_epochs`` is the same trial.
    """
    theirs, ours = dict(state["config"]), config.to_dict()
    differing = [f for f in ours if f != "max_epochs" and theirs.get(f) != ours[f]]
    if differing:
        details = ", ".join(f"{f} is {theirs.get(f)!r} there and {ours[f]!r} here" for f in differing)
        raise ValueError(f"the state must be of this trial's config, but {details}")


def training_streams(train: np.ndarray | Tensor, config: TrialConfig) -> Tensor:
    """(S, B) streams of the training split, on the CPU.

    Raises:
        ValueError: if a token is outside the vocabulary or the split does not fill one window.
    """
    tokens = as_tokens(train, config.vocab_size)
    if num_windows(tokens.numel(), config.batch_size, config.bptt) < 1:
        raise ValueError(
            f"the training split must fill one window: batch_size * (bptt + 1) = "
            f"{config.batch_size * (config.bptt + 1)} tokens at least, got {tokens.numel()}"
        )
    return to_streams(tokens, config.batch_size)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory that this process has held on the device; on the CPU its largest resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:  # getrusage's figure is inherited from the parent process
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
