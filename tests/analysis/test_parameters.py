"""The analysis' list of searched parameters is that of the search spaces."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.parameters import CHOICE, LINEAR, LOG, SCALES, WHOLE, on_scale, searched
from study.records.records import Setting
from study.spec.spaces import search_space
from tests.support.memory import results, trial
from trainables.recipes import CORPORA, SIZES, VARIANTS


def scale_of(distribution: object) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return CHOICE
    if isinstance(distribution, IntDistribution):
        return WHOLE
    assert isinstance(distribution, FloatDistribution)
    return LOG if distribution.log else LINEAR


def test_the_scales_are_those_of_the_spaces() -> None:
    found = {
        (name, scale_of(distribution))
        for setting in product(CORPORA, SIZES, VARIANTS)
        for name, distribution in search_space(Setting(*setting)).items()
    }
    assert found == set(SCALES.items())


def test_what_differs_was_searched() -> None:
    setting = Setting("toy", "tiny", "real")
    rows = [trial(setting, "random-0001", 90.0, lr=0.5, tau=3.0), trial(setting, "random-0002", 90.0, lr=0.7, tau=None)]
    assert searched(results(rows).trials) == ["lr"]
    assert searched(results().trials) == []


def test_values_on_their_scale() -> None:
    assert on_scale("tau", pd.Series([1.0, np.e])).tolist() == [0.0, 1.0]
    assert on_scale("gamma", pd.Series([1.0, 2.0])).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="a choice has no scale, got 'target_gradient'"):
        on_scale("target_gradient", pd.Series(["flow"]))
