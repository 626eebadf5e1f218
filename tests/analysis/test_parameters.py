"""Parameters that a set of trials varies, and their values on the scale they are drawn on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.parameters import on_scale, searched
from study.records.records import Setting
from tests.support.memory import results, trial


def test_what_differs_was_searched() -> None:
    setting = Setting("toy", "tiny", "real")
    rows = [trial(setting, "random-0001", 90.0, lr=0.5, tau=3.0), trial(setting, "random-0002", 90.0, lr=0.7, tau=None)]
    assert searched(results(rows).trials) == ["lr"]
    assert searched(results().trials) == []


def test_values_on_their_scale() -> None:
    assert on_scale("tau", pd.Series([1.0, np.e])).tolist() == [0.0, 1.0]
    assert on_scale("gamma", pd.Series([1.0, 2.0])).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="a categorical parameter has no order, got 'target_gradient'"):
        on_scale("target_gradient", pd.Series(["flow"]))
