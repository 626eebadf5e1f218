"""Figure 2: validation perplexity by epoch, for the four variants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis import paper
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import OfStudy, StudiesInfo, by_group, curves, span, studies
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy
from analysis.stats.intervals import CONFIDENCE, t_quantile
from study.records.trials import PAPER_ORIGIN


@dataclass(frozen=True, kw_only=True)
class Curve(OfStudy):
    """Validation perplexity by epoch of one setting under the paper's recipe."""

    epochs: tuple[int, ...]
    ppl: tuple[float, ...]
    """Mean over seeds on the scale of ln(perplexity)."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Ends of the t-interval; empty for a single seed."""
    source: str
    """``confirm`` or ``default``: the block of the trials."""
    trial_ids: tuple[str, ...]
    paper_ppl: float | None
    """The paper's final validation perplexity of the setting."""


@dataclass(frozen=True, kw_only=True)
class CurvesInfo(StudiesInfo[Curve]):
    """The curves of Figure 2."""

    def frame(self) -> pd.DataFrame:
        """A row per setting and epoch."""
        rows = [
            {
                **curve.setting._asdict(), "epoch": epoch, "valid_ppl": ppl,
                "low": curve.low[i] if curve.low else None, "high": curve.high[i] if curve.high else None,
                "study": curve.study, "trial_ids": curve.trial_ids,
            }
            for curve in self.studies
            for i, (epoch, ppl) in enumerate(zip(curve.epochs, curve.ppl, strict=True))
        ]  # fmt: skip
        return pd.DataFrame(rows)


def draw_training_curves(info: CurvesInfo) -> Canvas:
    """A panel per corpus and size, two in a row; the first epochs, far above the rest, leave the panel."""
    panels = by_group(info.studies)
    num_columns = min(2, len(panels))
    num_rows = -(-len(panels) // num_columns)
    with style.style():
        width, top = (layout.WIDTH, 0.75) if num_columns > 1 else (5.6, 0.95)
        figure, axes = layout.grid(num_rows, num_columns, height=2.7, width=width, top=top)
        for ax, (corpus, size, curves) in zip(axes.flat, panels, strict=False):
            last_epoch = max(curve.epochs[-1] for curve in curves)
            for place, curve in enumerate(curves):
                colour, dash = style.colour(curve.setting.variant), style.dash(curve.setting.variant)
                marker = "o" if len(curve.epochs) == 1 else ""
                ax.plot(curve.epochs, curve.ppl, color=colour, linestyle=dash, marker=marker)
                if curve.low:
                    ax.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
                if curve.paper_ppl is not None:
                    at = last_epoch * (1.03 + 0.025 * place)  # side by side: equal values would hide each other
                    ax.plot(at, curve.paper_ppl, marker="<", color=colour, markersize=5.5, linestyle="")
            layout.head(ax, place_title(corpus, size), _seeds(curves))
            ax.set_xlim(0, last_epoch * (1.04 + 0.025 * len(curves)))
            ax.set_ylim(*_limits(curves))
            ax.xaxis.set_major_locator(MaxNLocator(6, steps=layout.STEPS, integer=True))
            ax.set_xlabel("epoch")
        for ax in axes[:, 0]:
            ax.set_ylabel("validation perplexity")
        layout.remove_unused(axes, len(panels))
        handles = layout.variant_handles(curve.setting.variant for curve in info.studies)
        if any(curve.paper_ppl is not None for curve in info.studies):
            label = "the paper's final value"
            handles.append(Line2D([], [], color=style.GREY, linestyle="", marker="<", markersize=5.5, label=label))
        layout.key(figure, handles, columns=5 if num_columns > 1 else 3)
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
    section="paper",
    needs="no trial under the paper's recipe has finished an epoch yet",
)
def training_curves(results: Results) -> CurvesInfo:
    """Figure 2 for every setting with an epoch under the paper's recipe."""
    found = (_curve(study, results) for study in studies(results))
    return CurvesInfo(studies=tuple(curve for curve in found if curve is not None))


def _curve(study: SettingStudy, results: Results) -> Curve | None:
    """The mean over complete confirm trials, else the default trial, else whatever has run under the recipe."""
    found = curves(results, study)
    recipe = study.confirm[study.confirm["origin"] == PAPER_ORIGIN]
    choices = (recipe[recipe["status"] == "complete"], study.search[study.search["block"] == "default"], recipe)
    for trials in choices:
        # Only epochs that all of them have: a mean over changing trials would jump.
        own = {trial_id: found[trial_id] for trial_id in sorted(trials["trial_id"]) if trial_id in found}
        shared = reduce(np.intersect1d, [epochs for epochs, _ in own.values()]) if own else ()
        if not len(shared):
            continue
        loss = np.log([ppl[np.isin(epochs, shared)] for epochs, ppl in own.values()]).T
        mean, num = loss.mean(axis=1), loss.shape[1]
        low: Any = ()
        high: Any = ()
        if num > 1:
            margin = t_quantile(CONFIDENCE, num - 1) * loss.std(axis=1, ddof=1) / math.sqrt(num)
            low, high = np.exp(mean - margin), np.exp(mean + margin)
        target = paper.perplexity(*study.setting, "valid_ppl")
        return Curve(
            setting=study.setting,
            epochs=tuple(int(epoch) for epoch in shared),
            ppl=tuple(np.exp(mean).tolist()),
            low=tuple(float(v) for v in low),
            high=tuple(float(v) for v in high),
            source=str(trials["block"].iloc[0]),
            study=study.study,
            trial_ids=tuple(own),
            paper_ppl=target.value if target else None,
        )
    return None


def _seeds(curves: list[Curve]) -> str:
    confirmed = [len(curve.trial_ids) for curve in curves if curve.source == "confirm"]
    alone = len(curves) - len(confirmed)
    texts = [span(confirmed, "seed") if confirmed else ""]
    if alone:
        texts.append(
            "one trial of the search each" if not confirmed else f"{alone} curve{'s' * (alone > 1)} of one trial"
        )
    return "; ".join(filter(None, texts))


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
