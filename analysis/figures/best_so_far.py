"""The best trial of a search so far, by trials and by device-hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import (
    OfStudy,
    StudiesInfo,
    by_group,
    counted,
    optional,
    parts_by_corpus,
    span,
    studies,
    time_unit,
)
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy


@dataclass(frozen=True, kw_only=True)
class BestSoFar(OfStudy):
    """One search, its trials in the order in which they ended."""

    trial_ids: tuple[str, ...]
    statuses: tuple[str, ...]
    ppl: tuple[float | None, ...]
    """Each trial's lowest validation perplexity; None where it has none, or where its loss diverged."""
    best: tuple[float | None, ...]
    """The lowest so far."""
    device_h: tuple[float, ...]
    """Device-hours of all trials so far."""
    num_unfinished: int
    """Trials that have started and not ended: they are in none of the above."""

    @property
    def is_drawn(self) -> bool:
        """Whether a trial has a value."""
        return bool(self.best) and self.best[-1] is not None


@dataclass(frozen=True, kw_only=True)
class BestSoFarInfo(StudiesInfo[BestSoFar]):
    """The searches."""

    def frame(self) -> pd.DataFrame:
        """A row per trial."""
        columns = ("trial_ids", "statuses", "ppl", "best", "device_h")
        return pd.DataFrame(
            [
                {
                    **s.setting._asdict(), "num_trials": i, "device_h": hours, "trial_id": trial_id, "status": status,
                    "valid_ppl": ppl, "best_so_far": best, "study": s.study,
                }
                for s in self.studies
                for i, (trial_id, status, ppl, best, hours) in enumerate(
                    zip(*(getattr(s, column) for column in columns), strict=True), start=1
                )
            ]
        )  # fmt: skip


def draw_best_so_far(info: BestSoFarInfo) -> Canvas:
    """Two panels per corpus and size: by trial, with the trials themselves, and by device-hours."""
    groups = by_group(info.drawn)
    with style.style():
        figure, axes = layout.grid(len(groups), 2, height=2.3, right=1.0, between=(0.35, 0.95))
        for row, (corpus, size, searches) in zip(axes, groups, strict=True):
            low, high = _limits(searches)
            unit, per = time_unit(3600.0 * max(s.device_h[-1] for s in searches))
            ends = []
            for search in searches:
                colour, dash = style.colour(search.setting.variant), style.dash(search.setting.variant)
                number, best = np.arange(1, len(search.best) + 1), np.array(search.best, dtype=float)
                for ax, x in zip(row, (number, np.array(search.device_h) * 3600.0 / per), strict=True):
                    alone = "o" if len(best) == 1 else ""
                    ax.step(x, best, where="post", color=colour, linestyle=dash, marker=alone, markersize=4)
                _trials(row[0], search, high - 0.05 * (high - low))
                ends.append((best[-1], f"{style.short_label(search.setting.variant)} {best[-1]:.1f}", colour))
            layout.head(row[0], place_title(corpus, size), _note(searches))
            for ax, label in zip(row, ("trials of the search that have ended", f"device-{unit}"), strict=True):
                ax.set_xlim(left=0)
                ax.set_xlabel(label)
            row[0].xaxis.set_major_locator(MaxNLocator(5, steps=layout.STEPS, integer=True))
            row[0].set_ylim(low, high)
            row[0].set_ylabel("best validation perplexity")
            layout.share_y(row[0], row[1:])
            layout.label_ends(figure, row[1], ends)
        handles = layout.variant_handles(s.setting.variant for s in info.drawn)
        marks = [("o", "trial"), ("v", "stopped by ASHA"), ("x", "failed")]
        handles += [layout.mark(text, marker, alpha=0.6) for marker, text in marks]
        layout.key(figure, handles, columns=7)
    return figure


def _trials(ax: Axes, search: BestSoFar, high: float) -> None:
    """A mark per trial; what failed has no value and stands at the upper edge."""
    colour = style.colour(search.setting.variant)
    for mark, chosen in (("o", {"complete"}), ("v", {"pruned"})):
        found = [
            (i, ppl)
            for i, (status, ppl) in enumerate(zip(search.statuses, search.ppl, strict=True), start=1)
            if status in chosen and ppl is not None
        ]
        if found:
            ax.plot(*zip(*found, strict=True), mark, color=colour, markersize=3, alpha=0.4, markeredgewidth=0)
    failed = [i for i, status in enumerate(search.statuses, start=1) if status == "failed"]
    ax.plot(failed, [high] * len(failed), "x", color=colour, markersize=4.5)


def _limits(searches: list[BestSoFar]) -> tuple[float, float]:
    """All of the curves but a first value far above the rest, which would leave no room for what follows."""
    curves = [np.array([v for v in s.best if v is not None]) for s in searches]
    low, worst = min(c[-1] for c in curves), max(c[-1] for c in curves)
    high = min(max(c[0] for c in curves), 1.5 * worst)
    high = max(high, low + 2.0 * (worst - low), 1.02 * low)
    return low - 0.06 * (high - low), high + 0.12 * (high - low)


def _note(searches: list[BestSoFar]) -> str:
    unfinished = sum(s.num_unfinished for s in searches)
    return f"{span((len(s.best) for s in searches), 'trial')} each" + counted(
        unfinished, "still running or interrupted"
    )


@register(
    "best_so_far",
    title="Best validation perplexity so far",
    caption=(
        "The lowest validation perplexity among the search's trials that have ended, in the order in which they ended; "
        "the paper's recipe comes first, then random draws, then TPE. By device-hours a search that stops bad trials "
        "early gets further. A search value is the lowest of many and flatters; the confirm block does not. Trials "
        "that failed are marked at the upper edge and count; trials above the panel are cut off."
    ),
    draw=draw_best_so_far,
    parts=parts_by_corpus,
    needs="no trial of a search has ended yet",
)
def best_so_far(results: Results) -> BestSoFarInfo:
    """Every search with a trial that has ended."""
    return BestSoFarInfo(studies=tuple(_best_so_far(study) for study in studies(results)))


def _best_so_far(study: SettingStudy) -> BestSoFar:
    search = study.search
    ended = search[search["status"].isin(["complete", "pruned", "failed"])].sort_values(["ended_at", "trial_id"])
    ppl = ended["best_valid_ppl"].astype(float)
    ppl = ppl.where(np.isfinite(ppl) & (ended["status"] != "failed"))
    return BestSoFar(
        setting=study.setting,
        study=study.study,
        trial_ids=tuple(ended["trial_id"]),
        statuses=tuple(ended["status"]),
        ppl=optional(ppl),
        best=optional(ppl.cummin().ffill()),
        device_h=tuple((ended["device_s"].astype(float).fillna(0.0).cumsum() / 3600.0).tolist()),
        num_unfinished=len(search) - len(ended),
    )
