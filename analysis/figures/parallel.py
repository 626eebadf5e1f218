"""All parameters of a search at once: parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas

from analysis.figures import axes as parameters
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import by_group, group_title
from analysis.figures.search_trials import (
    NEEDS,
    SearchTrials,
    SearchTrialsInfo,
    drawable,
    note,
    parameter_names,
    parts,
    perplexity_range,
    search_trials,
)
from analysis.records.load import Results

_UNCOLOURED = "#bdbdbd"


def draw_parallel(info: SearchTrialsInfo) -> Canvas:
    """A panel per study: a line per trial through its parameters to its perplexity, which is also its colour.

    Panels of one corpus and size share their scales, which are written above the first and below the last of them.
    """
    searches = drawable(info)
    names = parameter_names(searches)
    with style.style():
        figure, axes = layout.grid(
            len(searches), 1, height=1.45, top=0.85, bottom=0.6, left=0.1, right=0.1, between=(0, 0.5)
        )
        panels = iter(axes[:, 0])
        for corpus, size, members in by_group(searches):
            low, high = perplexity_range(members)
            scales = {name: _scale(name, members) for name in names}
            for place, search in enumerate(members):
                ax = next(panels)
                ax.set_axis_off()
                ax.set(xlim=(-0.5, len(names) + 0.5), ylim=(-0.05, 1.05))
                _lines(ax, search, scales, Normalize(low, high))
                title = style.label(search.cell.variant)
                title = title if place else f"{group_title(corpus, size)}, {title}"
                ax.set_title(title, pad=4 if place else 40, x=0.02)
                ax.text(
                    0.98, 1.04 if place else 1.38, note([search]), transform=ax.transAxes, ha="right",
                    fontsize=style.SMALL, color=style.GREY,
                )  # fmt: skip
                ends = [*(scale[2:] for scale in scales.values()), (f"{low:.1f}", f"{high:.0f} or more")]
                labels = [*(parameters.label(name).replace(" ", "\n", 1) for name in names), "validation\nppl"]
                for edge, y, side, first in ((1, 1.06, "bottom", 0), (0, -0.06, "top", len(members) - 1)):
                    if place == first:
                        _write(
                            ax, [texts[edge] for texts in ends], y, side, {"fontsize": style.SMALL, "color": style.GREY}
                        )
                        _write(ax, labels, y + (0.11 if edge else -0.11), side, {"fontsize": 8, "color": "#333333"})
    return figure


def _write(ax: Axes, texts: list[str], y: float, side: str, look: dict[str, Any]) -> None:
    """A text at each parameter's axis."""
    for at, text in enumerate(texts):
        ax.text(at, y, text, ha="center", va=side, **look)


def _scale(name: str, members: Sequence[SearchTrials]) -> tuple[float, float, str, str]:
    """(lowest, highest) on the parameter's scale over these studies, and both as text."""
    everything = np.concatenate([s.column(name) for s in members])
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    if options := parameters.choice_labels(name):
        return low, high, options[round(low)], options[round(high)]
    texts = f"{low:.2g}", f"{high:.2g}"
    return (np.log(low), np.log(high), *texts) if parameters.is_log(name) else (low, high, *texts)


def _lines(ax: Axes, search: SearchTrials, scales: dict[str, tuple[float, float, str, str]], norm: Normalize) -> None:
    """Each parameter from 0, the lowest of the group, to 1, the highest; an axis for each that this study searches."""
    own = {name for name, _ in search.points}
    ppl = np.array(search.ppl, dtype=float)
    columns = []
    for name, (low, high, _, _) in scales.items():
        values = np.log(search.column(name)) if parameters.is_log(name) else search.column(name)
        at = (values - low) / ((high - low) or 1.0)
        if parameters.choice_labels(name):  # else all lines would share two points
            at = 0.07 + 0.86 * at + 0.07 * (np.arange(len(at)) % 7 - 3) / 3
        columns.append(at)
    paths = np.column_stack([*columns, np.clip(norm(ppl), 0.0, 1.0)])
    # Worst first, the best on top; what did not run to its end is grey, beneath all.
    order = np.argsort(np.where(np.isfinite(ppl), -ppl, -np.inf), kind="stable")
    lines = [np.column_stack([np.arange(paths.shape[1]), paths[i]])[np.isfinite(paths[i])] for i in order]
    colours = style.perplexity_colours(norm, ppl[order], missing=_UNCOLOURED)
    widths = np.where(np.isfinite(ppl[order]), 0.9, 0.5)
    widths[-1] = 2.6
    ax.add_collection(LineCollection(lines, colors=colours, linewidths=widths, capstyle="round"), autolim=False)
    places = [at for at, name in enumerate([*scales, None]) if name is None or name in own]
    ax.vlines(places, 0, 1, color=style.PALE, linewidth=0.8, zorder=0)


@register(
    "parallel",
    title="All parameters at once",
    caption=(
        "A line per trial of the search through its parameters, each from its lowest to its highest value on its own "
        "scale; dark is good, and the best is drawn thick. Grey: trials that failed or that ASHA stopped."
    ),
    draw=draw_parallel,
    parts=parts,
    needs=NEEDS,
)
def parallel(results: Results) -> SearchTrialsInfo:
    """The search of every study."""
    return search_trials(results)
