"""One variational LSTM layer over a window, forward and backward written out.

The layer of appendix A: with one mask m per example and window, the dropped state h~_t = m * h_t feeds both the
recurrence at t + 1 and the next layer, or the output, at t; the cell is never masked.

    o, i, f = sigmoid(.), g = tanh(.)  of  W_x x_t + W_h h~_{t-1} + b
    c_t = f * c_{t-1} + i * g,   h_t = o * tanh(c_t),   h~_t = m * h_t

It is fast because the input's part of the gates is one matrix product for all steps, as is each weight's gradient; the
factors of the backward that do not depend on the gradient are computed for all steps at once; every buffer and every
view of a step is made once.

Shapes: K trials side by side (their weights, masks and states are their own), T steps, B streams, D inputs, H units.
The gates are in the order o, i, f, g: the three sigmoids are adjacent, and so are the three that the cell reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.fused.matmul import add_outer, operand_dtype, product, product_sum, recurrent_operand


@dataclass(frozen=True)
class LayerWeights:
    """A layer's weights, or their gradients; each trial's matrices in either memory order."""

    x: Tensor
    """(K, 4H, D)."""
    h: Tensor
    """(K, 4H, H)."""
    bias: Tensor
    """(K, 4H), one bias vector per gate."""


def step_dtype(like: Tensor) -> torch.dtype:
    """The dtype of a window's hidden states and of the gates' gradients, which products read many times.

    On a GPU the dtype of the products' operands, so that each is rounded once; elsewhere that of ``like``.
    """
    dtype = operand_dtype() if like.device.type == "cuda" and like.dtype == torch.float32 else None
    return dtype or like.dtype


class LayerBuffers:
    """One layer's activations over a window, and the views of its steps.

    Args:
        num_trials: K.
        num_steps: T.
        batch_size: B.
        hidden_size: H.
        like: gives dtype and device.
        backward: whether a backward will follow.
    """

    def __init__(
        self, num_trials: int, num_steps: int, batch_size: int, hidden_size: int, *, like: Tensor, backward: bool = True
    ) -> None:
        k, t, b, h = num_trials, num_steps, batch_size, hidden_size
        self.shape = (k, t, b, h)
        product_dtype = step_dtype(like)
        self.gates = like.new_empty(k, t, b, 4 * h)
        self.cell = like.new_empty(k, t + 1, b, h)  # the first step is the state before the window
        self.tanh_cell = like.new_empty(k, t, b, h)
        self.hidden = like.new_empty(k, t + 1, b, h, dtype=product_dtype)  # dropped
        undropped = self.hidden[:, 1:].unbind(1)
        if product_dtype != like.dtype:
            undropped = (like.new_empty(k, b, h),) * t
        self.final_hidden = like.new_empty(k, b, h)  # not dropped
        o, i, f, g = self.gates.view(k, t, b, 4, h).unbind(3)
        self.o, self.i, self.f, self.g = o, i, f, g
        self.forward_steps = list(
            zip(
                self.gates[..., : 3 * h].unbind(1), o.unbind(1), i.unbind(1), f.unbind(1), g.unbind(1),
                self.cell[:, :-1].unbind(1), self.cell[:, 1:].unbind(1), self.tanh_cell.unbind(1),
                self.hidden[:, :-1].unbind(1), undropped, self.hidden[:, 1:].unbind(1), strict=True,
            )
        )  # fmt: skip
        if backward:
            self.factors = like.new_empty(k, t, b, 4, h)  # d gates / d cell, but for o: d gates / d h~
            self.cell_factor = like.new_empty(k, t, b, h)  # d cell / d h~
            self.d_gates = like.new_empty(k, t, b, 4, h, dtype=product_dtype)
            self.d_cell = like.new_empty(k, b, 1, h)
            self.scratch = like.new_empty(k, t, b, h)
            self.backward_steps = list(
                zip(
                    self.d_gates.view(k, t, b, 4 * h).unbind(1), self.d_gates[:, :, :, 0].unbind(1),
                    self.d_gates[:, :, :, 1:].unbind(1), self.factors[:, :, :, 0].unbind(1),
                    self.factors[:, :, :, 1:].unbind(1), self.cell_factor.unbind(1), f.unbind(1), strict=True,
                )
            )  # fmt: skip

    @property
    def output(self) -> Tensor:
        """(K, T, B, H), the dropped hidden states of the window."""
        return self.hidden[:, 1:]

    @property
    def final_cell(self) -> Tensor:
        """(K, B, H), the cell after the window."""
        return self.cell[:, -1]


def layer_forward(
    x: Tensor, weights: LayerWeights, mask: Tensor | None, hidden: Tensor, cell: Tensor, buffers: LayerBuffers
) -> Tensor:
    """Runs a layer over a window.

    Args:
        x: (K, T, B, D), already dropped.
        weights: the layer's weights.
        mask: (K, B, H), Bernoulli(keep) / keep; None for no dropout.
        hidden: (K, B, H), the state carried in, not dropped.
        cell: (K, B, H), the cell carried in.
        buffers: overwritten; ``final_hidden`` and ``final_cell`` hold the state to carry on.

    Returns:
        (K, T, B, H), the dropped hidden states: a view of the buffers.
    """
    k, t, b, h = buffers.shape
    from_below = product(x.reshape(k, t * b, -1), weights.x.transpose(1, 2), weights.bias)
    buffers.cell[:, 0].copy_(cell)
    if mask is None:
        buffers.hidden[:, 0].copy_(hidden)
    else:
        torch.mul(hidden, mask, out=buffers.hidden[:, 0])
    recurrent = recurrent_operand(weights.h).transpose(1, 2)
    for step, below in zip(buffers.forward_steps, from_below.view(k, t, b, 4 * h).unbind(1), strict=True):
        sigmoids, o, i, f, g, cell_in, cell_out, tanh_cell, hidden_in, undropped, hidden_out = step
        before = product_sum(below, hidden_in, recurrent)
        torch.sigmoid(before[..., : 3 * h], out=sigmoids)
        torch.tanh(before[..., 3 * h :], out=g)
        torch.mul(f, cell_in, out=cell_out).addcmul_(i, g)
        torch.tanh(cell_out, out=tanh_cell)
        torch.mul(o, tanh_cell, out=undropped)
        if mask is not None:
            torch.mul(undropped, mask, out=hidden_out)
        elif undropped.dtype != hidden_out.dtype:
            hidden_out.copy_(undropped)
    torch.mul(buffers.o[:, -1], buffers.tanh_cell[:, -1], out=buffers.final_hidden)
    return buffers.output


def run_layers(
    x: Tensor, layers: Sequence[LayerWeights], masks: Tensor | None, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The top layer's (dropped) hidden states over a window, and the state to carry on; no backward will follow.

    Args:
        x: (K, T, B, H), already dropped.
        layers: L of them.
        masks: (L, K, B, H); None for no dropout.
        state: (hidden, cell), each (L, K, B, H), carried in.
    """
    hidden, cell = [], []
    for index, weights in enumerate(layers):
        buffers = LayerBuffers(*x.shape, like=x, backward=False)
        mask = None if masks is None else masks[index]
        x = layer_forward(x, weights, mask, state[0][index], state[1][index], buffers)
        hidden.append(buffers.final_hidden)
        cell.append(buffers.final_cell)
    return x, (torch.stack(hidden), torch.stack(cell))


def layer_backward(
    d_output: Tensor,
    x: Tensor,
    weights: LayerWeights,
    mask: Tensor | None,
    buffers: LayerBuffers,
    gradients: LayerWeights,
    d_x: Tensor,
) -> None:
    """Backpropagates through a layer over the window that ``layer_forward`` has just run.

    Args:
        d_output: (K, T, B, H), the loss's gradient with respect to the dropped hidden states, from above only;
            overwritten on a GPU (``product_sum``).
        x: as in the forward.
        weights: as in the forward.
        mask: as in the forward.
        buffers: as the forward left them.
        gradients: overwritten with the weights' gradients.
        d_x: (K, T, B, D), overwritten with the input's gradient.
    """
    k, t, b, h = buffers.shape
    _local_factors(mask, buffers)
    steps, d_above = buffers.backward_steps, d_output.unbind(1)
    d_cell, recurrent = buffers.d_cell, recurrent_operand(weights.h)
    for step in range(t - 1, -1, -1):
        _, d_o, d_others, o_factor, other_factors, cell_factor, _ = steps[step]
        if step == t - 1:
            d_hidden = d_above[step]
            torch.mul(d_hidden, cell_factor, out=d_cell.squeeze(2))
        else:
            d_gates_after, _, _, _, _, _, f_after = steps[step + 1]
            d_hidden = product_sum(d_above[step], d_gates_after, recurrent)
            d_cell.squeeze(2).mul_(f_after).addcmul_(d_hidden, cell_factor)
        torch.mul(other_factors, d_cell, out=d_others)
        torch.mul(o_factor, d_hidden, out=d_o)
    d_gates = buffers.d_gates.view(k, t * b, 4 * h)
    add_outer(gradients.x, d_gates, x.reshape(k, t * b, -1), overwrite=True)
    add_outer(gradients.h, d_gates, buffers.hidden[:, :-1].reshape(k, t * b, h), overwrite=True)
    torch.sum(d_gates, 1, out=gradients.bias)
    d_x.copy_(product(d_gates, weights.x).view_as(d_x))


def _local_factors(mask: Tensor | None, buffers: LayerBuffers) -> None:
    """Computes the factors of the backward that do not depend on the gradient, the mask included."""
    k, t, b, h = buffers.shape
    factors, scratch, tanh_cell = buffers.factors, buffers.scratch, buffers.tanh_cell
    sigmoids = buffers.gates.view(k, t, b, 4, h)[:, :, :, :3]
    torch.addcmul(sigmoids, sigmoids, sigmoids, value=-1, out=factors[:, :, :, :3])  # s (1 - s)
    factors[:, :, :, 0].mul_(tanh_cell)
    factors[:, :, :, 1].mul_(buffers.g)
    factors[:, :, :, 2].mul_(buffers.cell[:, :-1])
    torch.mul(buffers.g, buffers.g, out=scratch)
    torch.addcmul(buffers.i, buffers.i, scratch, value=-1, out=factors[:, :, :, 3])  # i (1 - g^2)
    torch.mul(tanh_cell, tanh_cell, out=scratch)
    torch.addcmul(buffers.o, buffers.o, scratch, value=-1, out=buffers.cell_factor)  # o (1 - tanh^2 c)
    if mask is not None:
        factors[:, :, :, 0].mul_(mask.unsqueeze(1))
        buffers.cell_factor.mul_(mask.unsqueeze(1))
