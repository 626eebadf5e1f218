"""An architecture that is added as ``trainables/README`` describes: a cell in one file, its name, and a variant. Here a
plain recurrent network.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables import recipes
from trainables.models.cells import Cell, CellState
from trainables.models.dropout import LayerMasks, drop
from trainables.models.part import matrix


class Tanh(Cell):
    """h_t = tanh(W_x x_t + W_h h_{t-1} + b); its state is (hidden,), (B, H)."""

    def __init__(self, input_size: int, hidden_size: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__(input_size, hidden_size, device=device, dtype=dtype)
        self.weight_x = matrix(hidden_size, input_size, row_major=True, device=device, dtype=dtype)
        self.weight_h = matrix(hidden_size, hidden_size, row_major=True, device=device, dtype=dtype)
        self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))

    def zero_state(self, batch_size: int) -> CellState:
        """(hidden,)."""
        return (self.bias.new_zeros(batch_size, len(self.bias)),)

    def forward(self, x: Tensor, state: CellState, masks: LayerMasks) -> tuple[Tensor, CellState]:
        """As ``Cell.forward``."""
        (hidden,), outputs = state, []
        for below in F.linear(drop(x, masks.input), self.weight_x, self.bias):
            hidden = torch.tanh(below + F.linear(drop(hidden, masks.recurrent), self.weight_h))
            outputs.append(hidden)
        return torch.stack(outputs), (hidden,)


VARIANT = recipes.Variant(name="rnn", label="VD-RNN", tie_weights=False, augmented_loss=False, cell="tanh")
CODE = f"{__name__}:Tanh"


def register(patch: pytest.MonkeyPatch) -> None:
    """Adds the cell and the variant to this process' registries."""
    patch.setitem(recipes.CELLS, "tanh", CODE)  # type: ignore[misc]
    patch.setitem(recipes.VARIANTS, "rnn", VARIANT)  # type: ignore[misc]


def write_sitecustomize(folder: Path) -> None:
    """Registers the variant in every Python process with the folder on its PYTHONPATH."""
    (folder / "sitecustomize.py").write_text(
        "from trainables import recipes\n"
        f"recipes.CELLS['tanh'] = {CODE!r}\n"
        f"recipes.VARIANTS['rnn'] = recipes.{VARIANT!r}\n"
    )
