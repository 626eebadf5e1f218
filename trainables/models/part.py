"""The common base of a language model's parts: draws their weights."""

from __future__ import annotations

import torch
from torch import nn


class Part(nn.Module):
    """A part of a language model with weights."""

    @torch.no_grad()
    def reset_parameters(self, init_range: float, generator: torch.Generator | None = None) -> None:
        """Draws matrices anew, uniform in [-init_range, init_range], and sets biases to zero (zaremba2014).

        Args:
            init_range: for each matrix.
            generator: a CPU generator, so that a seed gives the same weights on every device and in every precision.
                Matrices are drawn in the order of their registration.
        """
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.zero_()
            else:  # always drawn in float32 on the CPU
                draw = torch.rand(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.copy_(draw.mul_(2 * init_range).sub_(init_range))


def matrix(
    num_rows: int, num_columns: int, *, row_major: bool, device: torch.device | str, dtype: torch.dtype
) -> nn.Parameter:
    """Makes a parameter (num_rows, num_columns) whose rows, or else whose columns, are contiguous in memory.

    The order changes only the speed: a CPU's products run fastest on contiguous columns, a GPU gathers contiguous rows.
    """
    if row_major:
        return nn.Parameter(torch.empty(num_rows, num_columns, device=device, dtype=dtype))
    return nn.Parameter(torch.empty(num_columns, num_rows, device=device, dtype=dtype).t())
