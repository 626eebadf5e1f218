"""The training step of a model of any parts, by autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.models.base import LanguageModel, State


class PlainStep:
    """The training step of one trial, as ``fused.single.Step``, for any model.

    Args:
        model: has a dropout part; its parameters are updated in place, and must not be replaced.
        config: the loss, the clipping, the batch.
    """

    def __init__(self, model: LanguageModel, config: TrialConfig) -> None:
        self.model, self.config = model, config
        self._gradients: dict[str, Tensor] = {}

    def zero_state(self) -> State:
        """The state at an epoch's start."""
        return self.model.zero_state(self.config.batch_size)

    def gradients(self, inputs: Tensor, targets: Tensor, kept: Any, state: State) -> tuple[Tensor, Tensor, State]:
        """Forward and backward over a window; the gradients stay in the step.

        They are those of J_tot summed over the window's steps and averaged over its streams (zaremba2014).

        Args:
            inputs: (T, B) token ids on the CPU.
            targets: (T, B) token ids on the CPU.
            kept: from ``draw`` of the model's dropout part.
            state: carried in.

        Returns:
            Sums of J and of J_aug over the window's tokens, each a scalar tensor, and the state to carry on.
        """
        model, config, named = self.model, self.config, dict(self.model.named_parameters())
        like = next(iter(named.values())).detach()
        assert model.dropout is not None
        total, cross_entropy, augmented, state = model.losses(
            inputs.to(like.device, non_blocking=True), targets.to(like.device, non_blocking=True), state,
            model.dropout.masks(kept, like=like), gamma=config.gamma, tau=config.tau,
            target_gradient=config.target_gradient,
        )  # fmt: skip
        gradients = torch.autograd.grad(total.sum() / config.batch_size, list(named.values()), materialize_grads=True)
        self._gradients = dict(zip(named, gradients, strict=True))
        return cross_entropy.detach().sum(), augmented.detach().sum(), state

    @torch.no_grad()
    def update(self, lr: float) -> Tensor:
        """Clips the gradients by their global norm, takes a step of plain SGD, and returns the norm before clipping."""
        norm = torch.nn.utils.get_total_norm(self._gradients.values())
        scale = (self.config.max_grad_norm / norm).clamp(max=1.0)
        for name, parameter in self.model.named_parameters():
            parameter.sub_(self._gradients[name] * (lr * scale))
        return norm

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients of the loss of the last window by the parameter's name (for tests and analysis)."""
        return self._gradients
