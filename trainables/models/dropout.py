"""The dropout part: draws the masks by which a window's units are multiplied.

Shapes: T steps, B streams, H units, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.recipes import NUM_LAYERS


@dataclass(frozen=True, kw_only=True)
class LayerMasks:
    """Masks of one layer, applied inside its products only: the carried state is never masked."""

    input: Tensor | None = None
    """Of the layer's input: (B, H), or (T, B, H) if it changes from step to step."""
    recurrent: Tensor | None = None
    """Of the hidden state from the step before: (B, H)."""


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Masks of a window; None for no mask."""

    layers: tuple[LayerMasks, ...]
    """From the lowest layer to the top."""
    output: Tensor | None = None
    """Of the top layer's hidden states before the output: (B, H) or (T, B, H)."""


def drop(x: Tensor, mask: Tensor | None) -> Tensor:
    """x times the mask, if there is one."""
    return x if mask is None else x * mask


class Dropout(Protocol):
    """A kind of dropout; constructed from a ``TrialConfig``."""

    def draw(self, batch_size: int, num_steps: int, generator: torch.Generator) -> Any:
        """Draws the random part of a window's masks on the CPU, so that a seed gives the same on every device."""

    def masks(self, kept: Any, *, like: Tensor) -> Masks:
        """Makes a window's masks from the result of ``draw``, in the dtype and on the device of ``like``."""


class Variational:
    """One mask per example, layer and window, the same at every step (appendix A).

    With the mask m of a layer, m * h_t feeds the layer's recurrence at t + 1 and the next layer, or the output, at t.

    Args:
        config: gives H, the drop probability, and whether the first layer's input is masked too.
    """

    def __init__(self, config: TrialConfig) -> None:
        self.hidden_size, self.drop_prob = config.hidden_size, config.drop_prob
        self.input_dropout = config.input_dropout

    def draw(self, batch_size: int, num_steps: int, generator: torch.Generator) -> Tensor:
        """Draws the units that a window keeps (``draw_masks``); independent of the number of steps."""
        return draw_masks(batch_size, self.hidden_size, self.drop_prob, generator)

    def masks(self, kept: Tensor, *, like: Tensor) -> Masks:
        """The masks of a window.

        Args:
            kept: from ``draw``.
            like: gives dtype and device.
        """
        scaled = scale_masks(kept, self.drop_prob, input_dropout=self.input_dropout, like=like)
        return variational_masks(scaled)


def variational_masks(scaled: Tensor) -> Masks:
    """Assigns masks (L + 1, B, H) of the first layer's input and each layer's output to the layers and the output."""
    below = scaled.unbind()
    return Masks(
        layers=tuple(LayerMasks(input=x, recurrent=h) for x, h in zip(below, below[1:], strict=False)),
        output=below[-1],
    )


def draw_masks(batch_size: int, hidden_size: int, drop_prob: float, generator: torch.Generator) -> Tensor:
    """Draws the units that a window keeps, once per example and layer.

    Draws in float32 on the CPU, so that a seed gives the same masks on every device and in every precision. Draws the
    input's mask even if it is not used, so that the other layers' masks do not depend on it.

    Args:
        batch_size: B.
        hidden_size: H.
        drop_prob: probability that a unit is dropped.
        generator: advanced by (L + 1) B H numbers.

    Returns:
        Booleans (L + 1, B, H), True where a unit is kept: the first layer's input, then each layer's output.
        ``scale_masks`` turns them into m = Bernoulli(keep) / keep.
    """
    return torch.rand((NUM_LAYERS + 1, batch_size, hidden_size), generator=generator) >= drop_prob


def scale_masks(kept: Tensor, drop_prob: float, *, input_dropout: bool, like: Tensor) -> Tensor:
    """m = Bernoulli(keep) / keep, of mean one.

    Args:
        kept: (L + 1, B, H) from ``draw_masks``.
        drop_prob: as in ``draw_masks``.
        input_dropout: whether the first layer's input is masked; if not, its mask is all ones.
        like: gives dtype and device.

    Returns:
        (L + 1, B, H).
    """
    masks = kept.to(like.device, non_blocking=True).to(like.dtype).mul_(1.0 / (1.0 - drop_prob))
    if not input_dropout:
        masks[0].fill_(1.0)
    return masks
