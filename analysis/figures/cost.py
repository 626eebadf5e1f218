"""Device-seconds of an epoch and of a trial, by variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import OfStudy, StudiesInfo, by_group, counted, parts_by_corpus, span, studies, time_unit
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy


@dataclass(frozen=True, kw_only=True)
class Cost(OfStudy):
    """Seconds of one study's trials, in the order of ``trial_ids``."""

    trial_ids: tuple[str, ...]
    statuses: tuple[str, ...]
    epoch_s: tuple[float, ...]
    """Device-seconds per epoch of each trial: its device-seconds over its epochs."""
    device_s: tuple[float, ...]
    num_without: int
    """Trials that have no finished epoch."""


@dataclass(frozen=True, kw_only=True)
class CostInfo(StudiesInfo[Cost]):
    """The studies with a finished epoch."""

    def frame(self) -> pd.DataFrame:
        """A row per trial."""
        return pd.DataFrame(
            [
                {
                    **s.setting._asdict(), "epoch_s": epoch_s, "device_s": device_s, "status": status, "study": s.study,
                    "trial_id": trial_id,
                }
                for s in self.studies
                for trial_id, status, epoch_s, device_s in zip(
                    s.trial_ids, s.statuses, s.epoch_s, s.device_s, strict=True
                )
            ]
        )  # fmt: skip


def draw_cost(info: CostInfo) -> Canvas:
    """A row per corpus and size: a dot per trial in a line per variant, by epoch and by trial."""
    groups = by_group(info.studies)
    with style.style():
        figure, axes = layout.grid(
            len(groups), 2, height=1.5, left=0.95, right=0.75, top=0.75, between=(0.85, 0.95), bottom=0.5
        )
        for row, (corpus, size, found) in zip(axes, groups, strict=True):
            longest = max(max(s.device_s) for s in found)
            unit, per = time_unit(longest)
            for place, one in enumerate(found):
                _dots(row[0], one, one.epoch_s, place, 1.0)
                _dots(row[1], one, one.device_s, place, per)
            layout.head(row[0], place_title(corpus, size), _cost_note(found))
            for ax in row:
                ax.set_ylim(len(found) - 0.45, -0.55)
                ax.set_yticks(range(len(found)), [""] * len(found))
                ax.tick_params(axis="y", length=0)
                ax.grid(visible=False, axis="y")
                ax.set_xlim(left=0)
            row[0].set_yticklabels([style.short_label(s.setting.variant) for s in found])
            for label, one in zip(row[0].get_yticklabels(), found, strict=True):
                label.set_color(style.colour(one.setting.variant))
            row[0].set_xlabel("device-seconds per epoch")
            row[1].set_xlabel(f"device-{unit} per trial")
        handles = [
            layout.mark("complete", "o"),
            layout.mark("stopped by ASHA or unfinished", "o", markerfacecolor="white"),
            layout.mark("failed", "x"),
            layout.mark("median", "|", markeredgewidth=2, markersize=11),
        ]
        layout.key(figure, handles)
    return figure


def _dots(ax: Axes, one: Cost, seconds: Sequence[float], place: int, per: float) -> None:
    colour, values = style.colour(one.setting.variant), np.array(seconds) / per
    y = place + 0.34 * ((np.arange(len(values)) * 0.618) % 1.0 - 0.5) * 2
    statuses = np.array(one.statuses)
    for chosen, mark, fill in (
        (statuses == "complete", "o", colour),
        (np.isin(statuses, ["pruned", "interrupted"]), "o", "white"),
        (statuses == "failed", "x", colour),
    ):
        ax.plot(
            values[chosen], y[chosen], mark, color=colour, markerfacecolor=fill, markersize=3, markeredgewidth=0.7,
            alpha=0.6,
        )  # fmt: skip
    middle = float(np.median(values))
    ax.vlines(middle, place - 0.42, place + 0.42, color=style.INK, linewidth=2, zorder=4)
    ax.annotate(
        f"{middle:.3g}", (1, place), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
        va="center", fontsize=8, color=colour,
    )  # fmt: skip


def _cost_note(found: Sequence[Cost]) -> str:
    text = f"{span((len(s.trial_ids) for s in found), 'trial')} each, of all blocks; medians on the right"
    return text + counted(sum(s.num_without for s in found), "without an epoch")


@register(
    "cost",
    title="Cost of an epoch and of a trial",
    caption=(
        "Device-seconds of each trial divided by its epochs, and of each trial as a whole, by variant, over all "
        "blocks. Trials that share a device share its time."
    ),
    draw=draw_cost,
    parts=parts_by_corpus,
    needs="no trial has finished an epoch yet",
)
def costs(results: Results) -> CostInfo:
    """Every study with a finished epoch."""
    return CostInfo(studies=tuple(one for one in (_cost(study) for study in studies(results)) if one.trial_ids))


def _cost(study: SettingStudy) -> Cost:
    trials = study.trials.sort_values("trial_id")
    known = trials[(trials["num_epochs"].astype(float) > 0) & (trials["device_s"].astype(float) > 0)]
    seconds = known["device_s"].astype(float)
    return Cost(
        setting=study.setting, study=study.study, trial_ids=tuple(known["trial_id"]), statuses=tuple(known["status"]),
        epoch_s=tuple((seconds / known["num_epochs"].astype(float)).tolist()), device_s=tuple(seconds.tolist()),
        num_without=len(trials) - len(known),
    )  # fmt: skip
