"""The training step of one trial: a stack of one."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.fused.step import StackStep, make_window
from trainables.fused.weights import StackWeights
from trainables.models.base import LanguageModel
from trainables.models.dropout import scale_masks

State = tuple[Tensor, Tensor]
"""(hidden, cell), each (L, B, H), undropped."""


class Step:
    """The training step of one trial.

    Args:
        model: its parameters are updated in place, and must not be replaced.
        config: the loss, the clipping, the batch.
    """

    def __init__(self, model: LanguageModel, config: TrialConfig) -> None:
        self.model, self.config = model, config
        self.stack = StackStep(StackWeights.of(model), [config], refill=False)

    def zero_state(self) -> State:
        """The state at an epoch's start."""
        hidden, cell = self.stack.weights.zero_state(self.config.batch_size)
        return hidden.squeeze(1), cell.squeeze(1)

    def gradients(self, inputs: Tensor, targets: Tensor, kept: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Forward and backward over a window; the gradients, summed over the streams, stay in the step.

        Args:
            inputs: (T, B) token ids on the CPU.
            targets: (T, B) token ids on the CPU.
            kept: (L + 1, B, H) booleans on the CPU, from ``draw_masks``.
            state: carried in.

        Returns:
            Sums of J and of J_aug over the window's tokens, each a scalar tensor, and the state to carry on.
        """
        stack, config, like = self.stack, self.config, self.stack.weights.embedding
        masks = scale_masks(kept, config.drop_prob, input_dropout=config.input_dropout, like=like)
        window = make_window(
            inputs, targets, augmented=stack.augmented is not None, sparse=stack.sparse_embedding, device=like.device
        )
        hidden, cell = (s.unsqueeze(1) for s in state)
        ce, augmented, (hidden, cell) = stack.gradients(window, masks.unsqueeze(1), (hidden, cell))
        return ce[0], augmented[0], (hidden.squeeze(1), cell.squeeze(1))

    def update(self, lr: float) -> Tensor:
        """Clips the gradients by their global norm, takes a step of plain SGD, and returns the norm before clipping."""
        return self.stack.update(torch.full_like(self.stack.max_norm, lr, dtype=torch.float64))[0]

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients of the loss of the last window, dense, by the parameter's name (for tests and analysis)."""
        return {name: gradient[0] for name, gradient in self.stack.named_gradients().items()}
