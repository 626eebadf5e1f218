"""Labels and axes of the searched parameters, as ``study.records.parameters`` declares them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from study.records.parameters import CATEGORICAL, LOG, PARAMETERS

_STEPS = (
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
    (1.0,),
)
"""Leading digits of the ticks of a logarithmic axis, from dense to sparse."""


def is_log(name: str) -> bool:
    """Whether the parameter is searched and shown on a logarithmic scale."""
    return PARAMETERS[name].scale == LOG


def label(name: str) -> str:
    """The parameter's name for people."""
    return PARAMETERS[name].label


def as_numbers(name: str, values: pd.Series) -> np.ndarray:
    """The values as floats, of a categorical parameter the places among its options; what is missing or unknown is
    NaN."""
    if PARAMETERS[name].scale == CATEGORICAL:
        places = {option: float(i) for i, option in enumerate(PARAMETERS[name].domain)}
        return np.array([places.get(value, np.nan) for value in values.astype(object)], dtype=float)
    return values.to_numpy(dtype=float, na_value=np.nan)


def option_labels(name: str) -> tuple[str, ...]:
    """The names of a categorical parameter's options in the order of their places; empty for a number."""
    if PARAMETERS[name].scale != CATEGORICAL:
        return ()
    return tuple(
        ("yes" if option else "no") if isinstance(option, bool) else str(option) for option in PARAMETERS[name].domain
    )


def set_axis(ax: Axes, name: str, low: float, high: float) -> None:
    """Scale, limits and ticks of the horizontal axis for values of this parameter between ``low`` and ``high``."""
    if options := option_labels(name):
        ax.set_xlim(-0.6, len(options) - 0.4)
        ax.set_xticks(range(len(options)), options)
    elif is_log(name):
        low, high = (low / 1.2, high * 1.2) if high <= low else (low, high)
        ax.set_xscale("log")
        pad = (high / low) ** 0.06
        ax.set_xlim(low / pad, high * pad)
        ticks = log_ticks(low / pad, high * pad)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xticklabels([f"{tick:g}" for tick in ticks])
    else:
        pad = 0.06 * (high - low) or max(0.05 * abs(high), 0.1)
        ax.set_xlim(low - pad, high + pad)


def log_ticks(low: float, high: float, *, at_most: int = 4) -> list[float]:
    """Round numbers between two positive ones, at most ``at_most``, for the ticks of a logarithmic axis."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in _STEPS:
        ticks = [float(f"{step * 10.0**decade:g}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= at_most:
            break
    return ticks if len(ticks) <= at_most else ticks[:: -(-len(ticks) // at_most)]
