"""The LSTM cell of appendix A.

With the mask m_x of the input and m_h of the recurrence:

    o, i, f = sigmoid(.), g = tanh(.)  of  W_x (m_x * x_t) + W_h (m_h * h_{t-1}) + b
    c_t = f * c_{t-1} + i * g,   h_t = o * tanh(c_t)

The gates are in the order o, i, f, g in the rows of W_x (4H, D), W_h (4H, H) and b (4H).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.models.cells import Cell, CellState
from trainables.models.dropout import LayerMasks, drop
from trainables.models.part import matrix


class LSTM(Cell):
    """A layer of LSTM cells with one bias vector per gate; its state is (hidden, cell), each (B, H) and undropped."""

    def __init__(self, input_size: int, hidden_size: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__(input_size, hidden_size, device=device, dtype=dtype)
        gates = 4 * hidden_size
        self.weight_x = matrix(gates, input_size, row_major=False, device=device, dtype=dtype)
        self.weight_h = matrix(gates, hidden_size, row_major=False, device=device, dtype=dtype)
        self.bias = nn.Parameter(torch.empty(gates, device=device, dtype=dtype))

    def zero_state(self, batch_size: int) -> CellState:
        """(hidden, cell)."""
        hidden, cell = self.weight_h.new_zeros(2, batch_size, self.weight_h.shape[1])
        return hidden, cell

    def forward(self, x: Tensor, state: CellState, masks: LayerMasks) -> tuple[Tensor, CellState]:
        """As ``Cell.forward``."""
        hidden, cell = state
        outputs = []
        for below in F.linear(drop(x, masks.input), self.weight_x, self.bias):
            o, i, f, g = (below + F.linear(drop(hidden, masks.recurrent), self.weight_h)).chunk(4, -1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        return torch.stack(outputs), (hidden, cell)
