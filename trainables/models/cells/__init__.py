"""Cells: the recurrent layers of a language model, a file each. ``recipes.CELLS`` names them."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.models.dropout import LayerMasks
from trainables.models.part import Part

CellState = tuple[Tensor, ...]
"""The state that a layer carries from window to window: tensors (B, ...), as its cell defines them."""


class Cell(Part):
    """One recurrent layer.

    Args:
        input_size: D, numbers of the input at each step.
        hidden_size: H, units.
        device: of the weights.
        dtype: of the weights.
    """

    def __init__(self, input_size: int, hidden_size: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__()

    def zero_state(self, batch_size: int) -> CellState:
        """The state of B streams at the start of an epoch or a text."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: CellState, masks: LayerMasks) -> tuple[Tensor, CellState]:
        """Runs the layer over a window.

        Args:
            x: (T, B, D), undropped.
            state: carried in.
            masks: applied inside the layer.

        Returns:
            The hidden states (T, B, H), undropped, and the state to carry on.
        """
        raise NotImplementedError
