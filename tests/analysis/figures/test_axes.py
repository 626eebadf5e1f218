"""Labels and axes of the searched parameters."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from analysis.figures import axes as parameters
from study.records.parameters import PARAMETERS


def test_no_two_parameters_have_one_label() -> None:
    assert len({parameters.label(name) for name in PARAMETERS}) == len(PARAMETERS)


def test_categories_are_placed_by_their_options() -> None:
    values = pd.Series([True, False, None], dtype=object)
    assert parameters.as_numbers("input_dropout", values) == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)
    gradients = pd.Series(["stop", "flow", "else"])
    assert parameters.as_numbers("target_gradient", gradients) == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)
    assert parameters.option_labels("input_dropout") == ("no", "yes")


def test_numbers_stay_and_missing_ones_are_nan() -> None:
    assert parameters.as_numbers("lr", pd.Series([0.5, None])) == pytest.approx([0.5, np.nan], nan_ok=True)
    assert parameters.option_labels("lr") == ()
    assert parameters.is_log("lr")
    assert not parameters.is_log("gamma")


def test_ticks_of_a_logarithmic_axis() -> None:
    assert parameters.log_ticks(0.3, 3.0) == [0.5, 1.0, 2.0]
    assert parameters.log_ticks(2.0, 80.0) == [3.0, 10.0, 30.0]
    assert parameters.log_ticks(0.02, 0.15) == [0.02, 0.05, 0.1]
    assert parameters.log_ticks(60.0, 90.0) == [60.0, 80.0]


@given(st.floats(1e-6, 1e6), st.floats(1.0, 1e6))
def test_ticks_lie_inside_and_are_few(low: float, factor: float) -> None:
    ticks = parameters.log_ticks(low, low * factor)
    assert len(ticks) <= 4
    assert all(low <= tick <= low * factor for tick in ticks)
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize(
    ("name", "low", "high", "scale"),
    [
        ("lr", 0.3, 3.0, "log"),
        ("lr", 1.0, 1.0, "log"),
        ("gamma", 0.5, 0.5, "linear"),
        ("input_dropout", 0, 1, "linear"),
    ],
)
def test_an_axis_shows_its_values(name: str, low: float, high: float, scale: str) -> None:
    ax = Figure().subplots()
    parameters.set_axis(ax, name, low, high)
    left, right = ax.get_xlim()
    assert ax.get_xscale() == scale
    assert left < low <= high < right
    assert math.isfinite(left + right)
