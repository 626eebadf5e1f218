"""The parameters that a set of trials varies, and their values on the scale on which they are drawn evenly."""

from __future__ import annotations

import numpy as np
import pandas as pd

from study.records.parameters import CATEGORICAL, LOG, PARAMETERS


def searched(trials: pd.DataFrame) -> list[str]:
    """The parameters that differ among these trials."""
    return [name for name in PARAMETERS if len(trials[name].dropna().unique()) > 1]


def on_scale(name: str, values: pd.Series) -> pd.Series:
    """The values as they are drawn evenly: the logarithm where the scale is logarithmic.

    Raises:
        ValueError: if the parameter is categorical, which has no order.
    """
    scale = PARAMETERS[name].scale
    if scale == CATEGORICAL:
        raise ValueError(f"a categorical parameter has no order, got {name!r}")
    values = values.astype(float)
    return np.log(values) if scale == LOG else values
