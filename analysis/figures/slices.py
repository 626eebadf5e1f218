"""Each parameter of a search against perplexity, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures import axes as parameters
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import (
    OfStudy,
    StudiesInfo,
    by_group,
    counted,
    optional,
    parts_by_group,
    span,
    studies,
)
from analysis.parameters import searched
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy
from study.records.parameters import PARAMETERS

_NUM_BINS = 5


@dataclass(frozen=True, kw_only=True)
class SearchTrials(OfStudy):
    """The trials of one search, in the order of ``trial_ids``."""

    trial_ids: tuple[str, ...]
    statuses: tuple[str, ...]
    ppl: tuple[float | None, ...]
    """Lowest validation perplexity of a trial that ran to its end; None for all others."""
    points: tuple[tuple[str, tuple[float | None, ...]], ...]
    """(parameter, its value in each trial); of a choice, the place among its options."""

    @property
    def is_drawn(self) -> bool:
        """Whether it has a complete trial and a parameter that differs."""
        return self.best is not None and bool(self.points)

    @property
    def best(self) -> float | None:
        """The lowest perplexity, None without a complete trial."""
        return min((ppl for ppl in self.ppl if ppl is not None), default=None)

    def column(self, name: str) -> np.ndarray:
        """A parameter's values, NaN where missing or not searched."""
        return np.array(dict(self.points).get(name, (None,) * len(self.trial_ids)), dtype=float)


@dataclass(frozen=True, kw_only=True)
class SearchTrialsInfo(StudiesInfo[SearchTrials]):
    """The searches."""

    def frame(self) -> pd.DataFrame:
        """A row per trial, a column per parameter."""
        rows: list[dict[str, Any]] = []
        for search in self.studies:
            for i, trial_id in enumerate(search.trial_ids):
                row = {**search.setting._asdict(), "valid_ppl": search.ppl[i], "status": search.statuses[i]}
                row |= {name: values[i] for name, values in search.points}
                rows.append(row | {"study": search.study, "trial_id": trial_id})
        return pd.DataFrame(rows)


def draw_slices(info: SearchTrialsInfo) -> Canvas:
    """For each corpus and size two rows of five panels, one per parameter."""
    groups = by_group(info.drawn)
    num_columns = 5
    num_rows = [-(-len(_parameter_names(searches)) // num_columns) for _, _, searches in groups]
    with style.style():
        figure, axes = layout.grid(sum(num_rows), num_columns, height=1.75, between=(0.3, 0.72), bottom=0.55, top=0.75)
        start = 0
        for (corpus, size, searches), used in zip(groups, num_rows, strict=True):
            panels = axes[start : start + used]
            start += used
            low, high = perplexity_range(searches)
            pad = 0.06 * (high - low)
            names = _parameter_names(searches)
            for ax, name in zip(panels.flat, names, strict=False):
                _slice(ax, name, searches, high + pad)
                ax.set_xlabel(parameters.label(name))
            for row in panels:
                row[0].set_ylim(low - pad, high + 2 * pad)
                row[0].yaxis.set_major_locator(MaxNLocator(4, steps=layout.STEPS))
                layout.share_y(row[0], row[1:])
            for ax in panels[:, 0]:
                ax.set_ylabel("validation ppl")
            layout.head(panels[0, 0], place_title(corpus, size), _note(searches))
            layout.remove_unused(panels, len(names))
        handles = layout.variant_handles((s.setting.variant for s in info.drawn), lines=False)
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


def _parameter_names(searches: Sequence[SearchTrials]) -> list[str]:
    """The parameters that any of these searches varies, in the order of their declarations."""
    found = {name for search in searches for name, _ in search.points}
    return [name for name in PARAMETERS if name in found]


def perplexity_range(searches: Sequence[SearchTrials]) -> tuple[float, float]:
    """From the lowest perplexity of these searches to where their worst tenth begins."""
    values = [ppl for search in searches for ppl in search.ppl if ppl is not None]
    return min(values), max(float(np.quantile(values, 0.9)), 1.001 * min(values))


def _note(searches: Sequence[SearchTrials]) -> str:
    """Numbers of complete, failed, stopped and unfinished trials."""
    complete = span((sum(ppl is not None for ppl in s.ppl) for s in searches), "complete trial")
    text = complete + (" each" if len(searches) > 1 else "")
    for status, word in (("failed", "failed"), ("pruned", "stopped by ASHA"), ("interrupted", "unfinished")):
        text += counted(sum(s.statuses.count(status) for s in searches), word)
    return text


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
    parts=parts_by_group,
    needs="no search has a complete trial and a parameter that differs between trials yet",
)
def slices(results: Results) -> SearchTrialsInfo:
    """The search of every study."""
    return SearchTrialsInfo(studies=tuple(_search(study) for study in studies(results)))


def _search(study: SettingStudy) -> SearchTrials:
    trials = study.search.sort_values("trial_id")
    ppl = trials["best_valid_ppl"].astype(float).where(trials["status"] == "complete")
    points = [(name, optional(parameters.as_numbers(name, trials[name]))) for name in searched(trials)]
    return SearchTrials(
        setting=study.setting,
        study=study.study,
        trial_ids=tuple(trials["trial_id"]),
        statuses=tuple(trials["status"]),
        ppl=optional(ppl),
        points=tuple((name, values) for name, values in points if any(value is not None for value in values)),
    )
