"""The training step of one trial: a stack of one."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.fused.step import StackStep, make_window
from trainables.fused.weights import StackWeights
from trainables.models.vdlstm import VDLSTM, State


class Step:
    """The training step of one trial.

    Args:
        model: its parameters are updated in place, and must not be replaced.
        config: the loss, the clipping, the batch.
        compact: whether the head is compacted; None for the measured rule.
    """

    def __init__(self, model: VDLSTM, config: TrialConfig, *, compact: bool | None = None) -> None:
        self.model = model
        self.stack = StackStep(StackWeights.of(model), [config], refill=False, compact=compact)

    def gradients(
        self, inputs: Tensor, targets: Tensor, masks: Tensor, kept: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Forward and backward over a window; the gradients, summed over the streams, stay in the step.

        Args:
            inputs: (T, B) token ids on the CPU.
            targets: (T, B) token ids on the CPU.
            masks: (L + 1, B, H), scaled, on the model's device.
            kept: (L + 1, B, H) booleans on the CPU.
            state: carried in.

        Returns:
            Sums of J and of J_aug over the window's tokens, each a scalar tensor, and the state to carry on.
        """
        stack = self.stack
        window = make_window(
            inputs, targets, augmented=stack.augmented is not None, sparse=stack.sparse_embedding, device=masks.device
        )
        hidden, cell = (s.unsqueeze(1) for s in state)
        ce, augmented, (hidden, cell) = stack.gradients(window, masks.unsqueeze(1), kept.unsqueeze(1), (hidden, cell))
        return ce[0], augmented[0], (hidden.squeeze(1), cell.squeeze(1))

    def update(self, lr: float) -> Tensor:
        """Clips the gradients by their global norm and takes a step of plain SGD; the norm before, a scalar tensor."""
        return self.stack.update(torch.full_like(self.stack.max_norm, lr, dtype=torch.float64))[0]

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients of the loss of the last window, dense, by the parameter's name (for tests and analysis)."""
        return {name: gradient[0] for name, gradient in self.stack.named_gradients().items()}
