"""The report's figures. To add one, write a data function and a draw function and ``register`` them.

The data function turns ``Results`` into an info object: plain data, which a test can compare. The draw function
sees nothing but that object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis import paper, style
from analysis.cells import PAPER_ORIGIN, CellStudy, cells_with_records, study_of
from analysis.load import Results
from analysis.statistics import CONFIDENCE, mean_perplexity
from study.records import Cell
from trainables.recipes import CORPORA, SIZES, VARIANTS


class Info(Protocol):
    """What a data function returns."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""

    def frame(self) -> pd.DataFrame:
        """The figure's numbers, with the trials behind them."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A registered figure."""

    name: str
    title: str
    caption: str
    data: Callable[[Results], Info]
    draw: Callable[[Any], Drawing]


FIGURES: dict[str, Figure] = {}


def register(
    name: str, *, title: str, caption: str, draw: Callable[[Any], Drawing]
) -> Callable[[Callable[[Results], Any]], Callable[[Results], Any]]:
    """Decorator of a data function: adds it and its draw function to ``FIGURES`` under ``name``."""

    def add(data: Callable[[Results], Any]) -> Callable[[Results], Any]:
        if name in FIGURES:
            raise ValueError(f"a figure's name must be new, got {name!r} twice")
        FIGURES[name] = Figure(name=name, title=title, caption=caption, data=data, draw=draw)
        return data

    return add


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Validation perplexity by epoch of one cell under the paper's recipe."""

    cell: Cell
    epochs: tuple[int, ...]
    ppl: tuple[float, ...]
    """Mean over seeds on the scale of ln(perplexity)."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Ends of the t-interval; empty for a single seed."""
    source: str
    """``confirm`` or ``default``: the block of the trials."""
    study: str
    trial_ids: tuple[str, ...]
    paper_ppl: float | None
    """The paper's final validation perplexity of the cell."""


@dataclass(frozen=True, kw_only=True)
class CurvesInfo:
    """The curves of Figure 2, in the registries' order of cells."""

    curves: tuple[Curve, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no cell has an epoch to show."""
        return not self.curves

    def frame(self) -> pd.DataFrame:
        """A row per cell and epoch."""
        rows = [
            {
                **curve.cell._asdict(), "epoch": epoch, "valid_ppl": ppl,
                "low": curve.low[i] if curve.low else None, "high": curve.high[i] if curve.high else None,
                "study": curve.study, "trial_ids": " ".join(curve.trial_ids),
            }
            for curve in self.curves
            for i, (epoch, ppl) in enumerate(zip(curve.epochs, curve.ppl, strict=True))
        ]  # fmt: skip
        return pd.DataFrame(rows)


def draw_training_curves(info: CurvesInfo) -> Drawing:
    """A panel per corpus and size, two in a row; the first epochs, far above the rest, leave the panel."""
    panels = [(key, list(group)) for key, group in groupby(info.curves, key=lambda c: (c.cell.corpus, c.cell.size))]
    num_columns = min(2, len(panels))
    num_rows = -(-len(panels) // num_columns)
    with style.style():
        figure = Drawing(figsize=(4.6 * num_columns + 0.4, 3.3 * num_rows + 0.6), layout="constrained")
        axes = figure.subplots(num_rows, num_columns, squeeze=False).flat
        for ax, ((corpus, size), curves) in zip(axes, panels, strict=False):
            last_epoch = max(curve.epochs[-1] for curve in curves)
            for place, curve in enumerate(curves):
                colour, dash = style.colour(curve.cell.variant), style.dash(curve.cell.variant)
                marker = "o" if len(curve.epochs) == 1 else ""
                ax.plot(curve.epochs, curve.ppl, color=colour, linestyle=dash, marker=marker)
                if curve.low:
                    ax.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
                if curve.paper_ppl is not None:
                    at = last_epoch * (1.03 + 0.025 * place)  # side by side: equal values would hide each other
                    ax.plot(at, curve.paper_ppl, marker="<", color=colour, markersize=6, linestyle="")
            ax.set_title(_panel_title(corpus, size, curves))
            ax.set_xlim(0, last_epoch * (1.04 + 0.025 * len(curves)))
            ax.set_ylim(*_limits(curves))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set_xlabel("epoch")
            ax.set_ylabel("validation perplexity")
        for ax in list(axes):  # those that no panel took
            ax.remove()
        _legend(figure, info)
    return figure


@register(
    "figure2",
    title="Figure 2: validation perplexity during training",
    caption=(
        "Validation perplexity after each epoch under the paper's recipe: the mean over the confirm block's seeds on "
        f"the scale of ln(perplexity) and its {CONFIDENCE:.0%} t-interval, or the search's default trial alone where "
        "nothing is confirmed. A triangle marks the paper's final value (Tables 1 and 2). First epochs that lie far "
        "above the rest are cut off."
    ),
    draw=draw_training_curves,
)
def training_curves(results: Results) -> CurvesInfo:
    """Figure 2 for every cell with an epoch under the paper's recipe."""
    by_trial = dict(iter(results.epochs.groupby(["study", "trial_id"])))
    studies = (study_of(results, cell) for cell in cells_with_records(results))
    curves = (_curve(study, by_trial) for study in studies if study is not None)
    return CurvesInfo(curves=tuple(curve for curve in curves if curve is not None))


def _curve(study: CellStudy, by_trial: dict[Any, pd.DataFrame]) -> Curve | None:
    """The mean over complete confirm trials, else the default trial, else whatever has run under the recipe."""
    recipe = study.confirm[study.confirm["origin"] == PAPER_ORIGIN]
    choices = (recipe[recipe["status"] == "complete"], study.search[study.search["block"] == "default"], recipe)
    for trials in choices:
        series = {}
        for trial_id in sorted(trials["trial_id"]):
            epochs = by_trial.get((study.study, trial_id))
            if epochs is not None and len(finite := epochs[np.isfinite(epochs["valid_ppl"])]):
                series[trial_id] = finite.set_index("epoch")["valid_ppl"]
        if series:
            # Only epochs that all of them have: a mean over changing trials would jump.
            together = pd.DataFrame(series).dropna()
            if together.empty:
                continue
            means = [mean_perplexity(list(row)) for row in together.itertuples(index=False)]
            several = len(series) > 1
            target = paper.perplexity(*study.cell, "valid_ppl")
            return Curve(
                cell=study.cell,
                epochs=tuple(int(epoch) for epoch in together.index),
                ppl=tuple(m.mean for m in means if m),
                low=tuple(m.low for m in means if m and m.low is not None) if several else (),
                high=tuple(m.high for m in means if m and m.high is not None) if several else (),
                source=str(trials["block"].iloc[0]),
                study=study.study,
                trial_ids=tuple(series),
                paper_ppl=target.value if target else None,
            )
    return None


def _panel_title(corpus: str, size: str, curves: list[Curve]) -> str:
    title = CORPORA[corpus].title if corpus in CORPORA else corpus
    units = f" ({SIZES[size].hidden_size})" if size in SIZES else ""
    seeds = sorted({len(curve.trial_ids) for curve in curves})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"{title}, {size}{units}, {count} seed{'' if seeds == [1] else 's'}"


def _limits(curves: list[Curve]) -> tuple[float, float]:
    """From just below the lowest value to where the curves stand after a quarter of the epochs.

    The top lies between 1.35 and 2 times the worst curve's best, so that the last epochs can be told apart.
    """
    targets = [curve.paper_ppl for curve in curves if curve.paper_ppl is not None]
    lowest = min([min(curve.ppl) for curve in curves] + targets)
    worst = max([min(curve.ppl) for curve in curves] + targets)
    highest = max(max(curve.ppl) for curve in curves)
    after_a_quarter = max(curve.ppl[len(curve.ppl) // 4] for curve in curves)
    top = min(highest, max(1.35 * worst, min(2.0 * worst, after_a_quarter)))
    top = max(top, worst, 1.02 * lowest)
    margin = 0.05 * (top - lowest)
    return lowest - margin, top + margin


def _legend(figure: Drawing, info: CurvesInfo) -> None:
    shown = {curve.cell.variant for curve in info.curves}
    handles = [
        Line2D([], [], color=style.colour(name), linestyle=style.dash(name), label=variant.label)
        for name, variant in VARIANTS.items()
        if name in shown
    ]
    if any(curve.paper_ppl is not None for curve in info.curves):
        label = "the paper's final value"
        handles.append(Line2D([], [], color=style.GREY, linestyle="", marker="<", markersize=6, label=label))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
