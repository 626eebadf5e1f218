"""The masks of variational dropout."""

from __future__ import annotations

import pytest
import torch

from trainables.models.dropout import draw_masks, scale_masks


def test_masks_have_their_shape_scale_and_mean():
    kept = draw_masks(200, 100, 0.35, torch.Generator().manual_seed(0))
    masks = scale_masks(kept, 0.35, input_dropout=True, like=torch.zeros(1))
    assert masks.shape == (3, 200, 100)
    assert masks.unique().tolist() == [0.0, pytest.approx(1 / 0.65)]
    assert float(masks.mean()) == pytest.approx(1.0, abs=0.01)
    assert float((~kept).float().mean()) == pytest.approx(0.35, abs=0.01)


def test_masks_differ_between_examples_layers_and_windows():
    generator = torch.Generator().manual_seed(0)
    first, second = (draw_masks(20, 50, 0.5, generator) for _ in range(2))
    assert not torch.equal(first, second)
    rows = {tuple(row.tolist()) for window in (first, second) for layer in window for row in layer}
    assert len(rows) == 2 * 3 * 20


def test_the_inputs_mask_is_all_ones_unless_asked_for_and_does_not_shift_the_others():
    kept = draw_masks(4, 6, 0.5, torch.Generator().manual_seed(0))
    without, with_input = (scale_masks(kept, 0.5, input_dropout=i, like=torch.zeros(1)) for i in (False, True))
    assert (without[0] == 1).all()
    assert (with_input[0] != 1).all()
    assert torch.equal(without[1:], with_input[1:])
