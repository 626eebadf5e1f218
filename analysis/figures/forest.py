"""Forest plot: each variant's perplexity over the baseline's, with its interval; Table 1 as a picture."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis import paper
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.measures.pairs import KINDS, Pair, pairs
from analysis.records.load import Results
from analysis.records.names import place_title, variant_label
from analysis.records.sources import by_study
from analysis.stats.contrasts import contrast
from analysis.stats.intervals import CONFIDENCE
from study.records.records import Setting

BASELINE = "baseline"
_TITLES = {"recipe": "the paper's recipe", "tuned": "each variant tuned"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One variant against the baseline of the same corpus and size."""

    setting: Setting
    kind: str
    """``recipe``: both under the paper's recipe; ``tuned``: both tuned."""
    ratio: float | None
    """Perplexity over the baseline's; None where they cannot be compared."""
    low: float | None
    high: float | None
    """Ends of the t-interval, None where there is none."""
    p_value: float | None
    num_pairs: int
    lacks: str
    """Why there is no ratio or no interval; empty if nothing is missing."""
    paper_ratio: float | None
    seeds: tuple[int, ...]
    """Seeds that both have."""
    studies: tuple[str, str]
    """The variant's and the baseline's."""
    trial_ids: tuple[tuple[str, ...], tuple[str, ...]]
    """Of those seeds, the variant's and the baseline's."""


@dataclass(frozen=True, kw_only=True)
class ForestInfo:
    """All lines, in the registries' order of settings, the recipe first."""

    lines: tuple[Line, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be compared."""
        return all(line.ratio is None for line in self.lines)

    def frame(self) -> pd.DataFrame:
        """A row per line; after it, with no ratio, the trials of the baseline."""
        rows = []
        for line in self.lines:
            shared = {"kind": line.kind, "seeds": line.seeds}
            rows.append(
                {
                    **line.setting._asdict(), **shared, "ratio": line.ratio, "low": line.low, "high": line.high,
                    "p_value": line.p_value, "num_pairs": line.num_pairs, "paper_ratio": line.paper_ratio,
                    "lacks": line.lacks, "study": line.studies[0], "trial_ids": line.trial_ids[0],
                }
            )  # fmt: skip
            base = line.setting._replace(variant=BASELINE)._asdict()
            rows.append({**base, **shared, "study": line.studies[1], "trial_ids": line.trial_ids[1]})
        return pd.DataFrame(rows)


def draw_forest(info: ForestInfo) -> Canvas:
    """A column for the recipe and one for the tuned variants; the lines stand under their corpus and size."""
    places: dict[Setting, float] = {}
    headings: dict[str, float] = {}
    at = 0.0
    for (corpus, size), lines in groupby(
        dict.fromkeys(line.setting for line in info.lines), key=lambda c: (c[0], c[1])
    ):
        headings[place_title(corpus, size)] = at
        for setting in lines:
            at += 1
            places[setting] = at
        at += 1.5
    low, high = _limits(info)
    with style.style():
        figure, axes = layout.grid(
            1, 2, height=0.25 * (at + 0.3), left=1.65, right=1.68, top=0.7, bottom=0.55, between=(1.78, 0)
        )
        for ax, kind in zip(axes.flat, KINDS, strict=True):
            ax.axvline(1.0, color=style.INK, linewidth=1)
            for line in info.lines:
                if line.kind == kind:
                    _line(ax, line, places[line.setting])
            ax.set(xlim=(low, high), ylim=(at - 0.7, -0.7), xlabel="validation perplexity / the baseline's")
            ax.grid(visible=False, axis="y")
            layout.head(ax, _TITLES[kind])
            ax.set_yticks(list(places.values()), [""] * len(places))
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
        for heading, place in headings.items():
            axes[0, 0].annotate(heading, (0, place), (-112, 0), weight="bold", **_BESIDE)
        for setting, place in places.items():
            axes[0, 0].annotate(
                variant_label(setting.variant), (0, place), (-112, 0), color=style.colour(setting.variant), **_BESIDE
            )
        handles = [
            Line2D([], [], color=style.GREY, marker="o", markersize=5.5, label=f"ours, {CONFIDENCE:.0%} t-interval"),
            Line2D([], [], linestyle="", label="the paper's, Tables 1 and 2", **_PAPER),
        ]
        layout.key(figure, handles)
    return figure


_BESIDE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center", "fontsize": 8.5,
    "annotation_clip": False,
}  # fmt: skip
_PAPER: dict[str, Any] = {"marker": "D", "markersize": 4.5, "color": style.GREY, "markerfacecolor": "white"}


def _line(ax: Axes, line: Line, place: float) -> None:
    colour = style.colour(line.setting.variant)
    if line.paper_ratio is not None:
        ax.plot(line.paper_ratio, place - 0.22, zorder=2, **_PAPER)  # above ours, which it may equal
    if line.ratio is None:
        text = (
            "not confirmed yet" if "confirmed" in line.lacks else textwrap.shorten(line.lacks, 28, placeholder=" ...")
        )
        colour = style.GREY
    else:
        if line.low is not None and line.high is not None:
            ax.hlines(place, line.low, line.high, color=colour, linewidth=2)
            text = f"{line.ratio:.3f} ({line.low:.3f} to {line.high:.3f})"
        else:
            text = f"{line.ratio:.3f} (no interval)"
        ax.plot(line.ratio, place, "o", color=colour, markersize=5, markeredgewidth=0, zorder=4)
        text = f"n={line.num_pairs}  {text}"
    look = _BESIDE | {"fontsize": style.SMALL}
    ax.annotate(text, (1, place), (5, 0), color=colour, **look)


def _limits(info: ForestInfo) -> tuple[float, float]:
    """All intervals and marks, but for an interval of two seeds, which would push all else together."""
    marks = [v for line in info.lines for v in (line.ratio, line.paper_ratio, 1.0) if v is not None]
    low, high = min(marks), max(marks)
    wide = 0.6 * (high - low) or 0.02
    ends = [v for line in info.lines for v in (line.low, line.high) if v is not None]
    low, high = max(min([low, *ends]), low - wide), min(max([high, *ends]), high + wide)
    pad = 0.04 * (high - low)
    return low - pad, high + pad


@register(
    "forest",
    title="The variants against the baseline",
    caption=(
        "Validation perplexity on fresh seeds divided by the baseline's of the same corpus and size, left of 1 is "
        f"better: the mean over seeds that both have on the scale of ln(perplexity), its {CONFIDENCE:.0%} t-interval, "
        "and the number of seeds n. Diamonds: the ratio of the perplexities in the paper's Tables 1 and 2. Intervals "
        "of two seeds may leave the panel."
    ),
    draw=draw_forest,
    section="paper",
    needs="no variant and its baseline are both confirmed on a common seed yet",
)
def forest(results: Results) -> ForestInfo:
    """Each variant against the baseline, where both have a study."""
    found = [pair for _, members in pairs(results) for pair in members if pair.b.setting.variant == BASELINE]
    return ForestInfo(lines=tuple(_compare(pair, kind) for pair in found for kind in KINDS))


def _compare(pair: Pair, kind: str) -> Line:
    found = contrast(*pair.ppls(kind, "valid"))
    target, base = (paper.perplexity(*study.setting, "valid_ppl") for study in (pair.a, pair.b))
    seeds = found.seeds if found else ()
    ids = by_study(pair.trials(kind, seeds))
    return Line(
        setting=pair.a.setting,
        kind=kind,
        ratio=found.ratio if found else None,
        low=found.ratio_low if found else None,
        high=found.ratio_high if found else None,
        p_value=found.p_value if found else None,
        num_pairs=found.num_pairs if found else 0,
        lacks=((found.reason if found else pair.lacks(kind)) or ""),
        paper_ratio=target.value / base.value if target and base else None,
        seeds=seeds,
        studies=(pair.a.study, pair.b.study),
        trial_ids=(ids.get(pair.a.study, ()), ids.get(pair.b.study, ())),
    )
