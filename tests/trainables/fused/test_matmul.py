"""Products over zero elements, as when a mask drops every unit of a window."""

from __future__ import annotations

import pytest
import torch

from trainables.fused.matmul import ONEDNN_MIN_WEIGHTS, product, product_sum


@pytest.mark.parametrize("num_stacked", [1, 2])
def test_a_product_over_no_units_is_the_bias(num_stacked: int) -> None:
    a, b = torch.zeros(num_stacked, 20, 0), torch.zeros(num_stacked, 0, 8)
    bias = torch.arange(8.0).expand(num_stacked, 8)
    assert torch.equal(product(a, b, bias), bias.unsqueeze(1).expand(-1, 20, -1))
    assert torch.equal(product(a, b), torch.zeros(num_stacked, 20, 8))
    c = torch.ones(num_stacked, 20, 8)
    assert torch.equal(product_sum(c, a, b), c)


def test_a_product_of_no_rows_is_empty() -> None:
    width = int(ONEDNN_MIN_WEIGHTS**0.5) + 1
    assert product(torch.zeros(1, 0, width), torch.zeros(1, width, width)).shape == (1, 0, width)
