"""The result of an epoch of training, or the error of a trial that diverged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import TrialConfig


def windows_per_check(device: torch.device) -> int:
    """Windows between two checks of the losses: on a GPU a check waits for the device."""
    return 1 if device.type == "cpu" else 50


class NonFiniteLossError(ArithmeticError):
    """The loss or the gradient's norm became NaN or infinite; the message has the epoch, the window and the loss."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Measures of one epoch of training."""

    train_loss: float
    """Cross-entropy alone, nats per token, dropout on."""
    train_total_loss: float
    """J_tot of eq. 3.3, nats per token; the same as ``train_loss`` without the augmented loss."""
    grad_norm: float
    """Mean over the windows of the gradient's global norm before clipping."""
    num_tokens: int
    """Targets trained on."""
    train_s: float
    """Wall-clock seconds."""


def epoch_result(measured: Tensor, config: TrialConfig, *, train_s: float) -> EpochResult:
    """Averages an epoch's windows.

    Args:
        measured: (W, 3): of each window, J and J_aug summed over its tokens, and the gradient's norm.
        config: the trial.
        train_s: wall-clock seconds.
    """
    tokens_per_window = config.batch_size * config.bptt
    losses = measured.double().mean(0).cpu() / tokens_per_window
    return EpochResult(
        train_loss=float(losses[0]),
        train_total_loss=float(losses[0] + (config.alpha or 0.0) * losses[1]),
        grad_norm=float(losses[2]) * tokens_per_window,
        num_tokens=measured.shape[0] * tokens_per_window,
        train_s=train_s,
    )


def divergence(
    measured: Tensor, config: TrialConfig, *, epoch: int, first_window: int, num_windows: int
) -> NonFiniteLossError | None:
    """The error of the first window that is not finite; None if all are.

    Args:
        measured: (w, 3), as in ``epoch_result``, of windows in a row.
        config: the trial.
        epoch: from 1.
        first_window: the first of these windows, from 0.
        num_windows: of the epoch.
    """
    finite = torch.isfinite(measured).all(1).cpu()
    if bool(finite.all()):
        return None
    values, row = measured.cpu(), int((~finite).nonzero()[0])
    loss = float(values[row, 0]) / (config.batch_size * config.bptt)
    return NonFiniteLossError(
        f"training diverged: epoch {epoch}, window {first_window + row + 1} of {num_windows}: loss {loss:g} "
        f"nats per token, gradient norm {float(values[row, 2]):g}, learning rate {config.lr_at(epoch):g}"
    )
