"""Positions of panels and labels."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.figures import layout


def test_spread_by_hand() -> None:
    assert layout.spread([], 1.0) == []
    assert layout.spread([3.0, 1.0], 1.0) == [3.0, 1.0]
    assert layout.spread([1.0, 1.0], 1.0) == [0.5, 1.5]
    # The pair about 1.05 reaches 1.55 and pushes on: three values centred on their mean.
    assert layout.spread([1.0, 1.1, 1.8], 1.0) == pytest.approx([0.3, 1.3, 2.3])


@given(st.lists(st.floats(-10, 10), max_size=8), st.floats(0.01, 2))
def test_spread_keeps_order_and_mean_and_leaves_the_gap(values: list[float], gap: float) -> None:
    places = layout.spread(values, gap)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    assert all(places[b] - places[a] >= gap - 1e-6 for a, b in pairwise(order))
    assert sum(places) == pytest.approx(sum(values), abs=1e-6)


def test_a_grid_keeps_its_margins() -> None:
    figure, axes = layout.grid(2, 3, height=2.0, left=0.5, right=0.25, top=1.0, bottom=0.5, between=(0.5, 0.75))
    width, height = figure.get_size_inches()
    assert (width, height) == (layout.WIDTH, pytest.approx(1.0 + 2 * 2.0 + 0.75 + 0.5))
    first, last = axes[0, 0].get_position(), axes[1, 2].get_position()
    assert (first.x0 * width, height - first.y1 * height) == pytest.approx((0.5, 1.0))
    assert (width - last.x1 * width, last.y0 * height) == pytest.approx((0.25, 0.5))
    assert first.height * height == pytest.approx(2.0)


def test_variants_come_in_the_registrys_order() -> None:
    handles = layout.variant_handles(["real", "other", "baseline", "real"])
    assert [handle.get_label() for handle in handles] == ["VD-LSTM", "VD-LSTM+REAL", "other"]
