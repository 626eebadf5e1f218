"""The parameters that a study searches, as its records name them, and the scale that each is drawn on.

The ranges themselves are in ``study.spec.spaces``, which the analysis does not import; a test holds this list to it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

LINEAR, LOG, WHOLE, CHOICE = "linear", "log", "whole", "choice"
SCALES: Mapping[str, str] = {
    "drop_prob": LINEAR,
    "input_dropout": CHOICE,
    "lr": LOG,
    "lr_decay": LINEAR,
    "lr_decay_start_epoch": WHOLE,
    "max_grad_norm": LOG,
    "init_range": LOG,
    "gamma": LINEAR,
    "tau": LOG,
    "target_gradient": CHOICE,
}
"""Column of ``Results.trials`` -> ``linear``, ``log``, ``whole`` (whole numbers) or ``choice``."""


def searched(trials: pd.DataFrame) -> list[str]:
    """The parameters that differ among these trials."""
    return [name for name in SCALES if len(trials[name].dropna().unique()) > 1]


def on_scale(name: str, values: pd.Series) -> pd.Series:
    """The values as they are drawn evenly: the logarithm where the scale is logarithmic.

    Raises:
        ValueError: if the parameter is a choice, which has no order.
    """
    if SCALES.get(name) == CHOICE:
        raise ValueError(f"a choice has no scale, got {name!r}")
    values = values.astype(float)
    return np.log(values) if SCALES.get(name) == LOG else values
