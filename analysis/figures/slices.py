"""Each parameter of a search against perplexity, one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures import axes as parameters
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import by_group
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
from analysis.records.names import place_title

_NUM_BINS = 5


def draw_slices(info: SearchTrialsInfo) -> Canvas:
    """For each corpus and size two rows of five panels, one per parameter."""
    groups = by_group(drawable(info))
    num_columns = 5
    num_rows = [-(-len(parameter_names(searches)) // num_columns) for _, _, searches in groups]
    with style.style():
        figure, axes = layout.grid(sum(num_rows), num_columns, height=1.75, between=(0.3, 0.72), bottom=0.55, top=0.75)
        start = 0
        for (corpus, size, searches), used in zip(groups, num_rows, strict=True):
            panels = axes[start : start + used]
            start += used
            low, high = perplexity_range(searches)
            pad = 0.06 * (high - low)
            names = parameter_names(searches)
            for ax, name in zip(panels.flat, names, strict=False):
                _slice(ax, name, searches, high + pad)
                ax.set_xlabel(parameters.label(name))
            for row in panels:
                row[0].set_ylim(low - pad, high + 2 * pad)
                row[0].yaxis.set_major_locator(MaxNLocator(4, steps=layout.STEPS))
                layout.share_y(row[0], row[1:])
            for ax in panels[:, 0]:
                ax.set_ylabel("validation ppl")
            layout.head(panels[0, 0], place_title(corpus, size), note(searches))
            layout.remove_unused(panels, len(names))
        handles = layout.variant_handles((s.setting.variant for s in drawable(info)), lines=False)
        handles.append(layout.mark("failed", "x"))
        handles.append(Line2D([], [], color=style.GREY, linewidth=1, label="lowest in each fifth"))
        layout.key(figure, handles)
    return figure


def _slice(ax: Axes, name: str, searches: Sequence[SearchTrials], top: float) -> None:
    """The complete trials of each variant, the lowest of each fifth of the range, what failed at the upper edge."""
    everything = np.concatenate([s.column(name) for s in searches])
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    options = parameters.option_labels(name)
    edges: np.ndarray
    if options:
        edges = np.arange(len(options) + 1) - 0.5
    else:
        edges = (np.geomspace if parameters.is_log(name) else np.linspace)(low, high, _NUM_BINS + 1)
    for place, search in enumerate(searches):
        x, ppl = search.column(name), np.array(search.ppl, dtype=float)
        # Of a choice: the variants side by side, so that they do not hide each other.
        x = x + 0.16 * (place - (len(searches) - 1) / 2) if options else x
        colour, marker = style.colour(search.setting.variant), style.marker(search.setting.variant)
        ax.plot(x, ppl, marker, color=colour, markersize=2.6, alpha=0.45, markeredgewidth=0)
        failed = np.array([status == "failed" for status in search.statuses], dtype=bool)
        ax.plot(x[failed], np.full(failed.sum(), top), "x", color=colour, markersize=3.5, alpha=0.8)
        lowest = _lowest_in_bins(search.column(name), ppl, edges)
        ax.plot(*lowest, color=colour, linewidth=1, alpha=0.9)
    parameters.set_axis(ax, name, low, high)


def _lowest_in_bins(x: np.ndarray, ppl: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of lowest perplexity of each bin, from left to right."""
    known = np.isfinite(x) & np.isfinite(ppl)
    x, ppl = x[known], ppl[known]
    bins = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    best = [np.flatnonzero(bins == b)[np.argmin(ppl[bins == b])] for b in range(len(edges) - 1) if (bins == b).any()]
    order = np.array(best, dtype=int)
    return x[order], ppl[order]


@register(
    "slices",
    title="Each parameter against perplexity",
    caption=(
        "Every complete trial of the search, whatever its other parameters: lowest validation perplexity against one "
        "parameter. The line joins the lowest trial of each fifth of the range: where it is flat, the parameter can "
        "be made up for by the others. Failed trials are marked at the upper edge; trials that ASHA stopped have no "
        "comparable value and are only counted. The worst tenth may lie above the panel."
    ),
    draw=draw_slices,
    parts=parts,
    needs=NEEDS,
)
def slices(results: Results) -> SearchTrialsInfo:
    """The search of every study."""
    return search_trials(results)
