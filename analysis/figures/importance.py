"""Which hyperparameters decide whether a random draw is among the best: PED-ANOVA, with how far its ranks move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.figures import axes as parameters
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import by_group, optional, parts_by_corpus, span, studies
from analysis.measures.best_of_n import random_block
from analysis.measures.settings import SettingStudy
from analysis.parameters import searched
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.stats.importance import QUANTILE, importance_ranks
from analysis.stats.intervals import CONFIDENCE
from study.records.parameters import PARAMETERS
from study.records.records import Setting

MIN_DRAWS = 8
"""Of fewer draws, two best ones or less, nothing is said."""
NUM_BOOTSTRAP = 60


@dataclass(frozen=True, kw_only=True)
class Importance:
    """One study's importances, the most important parameter first."""

    setting: Setting
    study: str
    trial_ids: tuple[str, ...]
    """The random draws behind it; none where there are too few."""
    num_draws: int
    parameters: tuple[str, ...]
    shares: tuple[float, ...]
    rank_low: tuple[float | None, ...]
    rank_high: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class ImportanceInfo:
    """The studies with a random draw, in the registries' order of settings."""

    studies: tuple[Importance, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no study has enough draws."""
        return not any(study.parameters for study in self.studies)

    def frame(self) -> pd.DataFrame:
        """A row per study and parameter."""
        return pd.DataFrame(
            [
                {
                    **s.setting._asdict(), "parameter": name, "importance": share, "rank": i, "rank_low": low,
                    "rank_high": high, "num_draws": s.num_draws, "study": s.study, "trial_ids": s.trial_ids,
                }
                for s in self.studies
                for i, (name, share, low, high) in enumerate(
                    zip(s.parameters, s.shares, s.rank_low, s.rank_high, strict=True), start=1
                )
            ]
        )  # fmt: skip


def draw_importance(info: ImportanceInfo) -> Canvas:
    """A row per size: the shares, and the ranks with their intervals; a line of marks per parameter."""
    groups = [g for g in by_group(info.studies) if any(s.parameters for s in g[2])]
    with style.style():
        figure, axes = layout.grid(len(groups), 2, height=2.9, left=1.3, between=(0.3, 0.95), right=0.2)
        for row, (corpus, size, found) in zip(axes, groups, strict=True):
            shown = [s for s in found if s.parameters]
            order = _order(shown)
            for place, one in enumerate(shown):
                shift = 0.72 * (place - (len(shown) - 1) / 2) / max(1, len(shown))
                _marks(row, one, {name: i + shift for i, name in enumerate(order)})
            layout.head(row[0], place_title(corpus, size), _note(found))
            layout.head(row[1], "", f"rank and its {CONFIDENCE:.0%} bootstrap interval, 1 = most important")
            for ax in row:
                ax.set_ylim(len(order) - 0.4, -0.6)
                ax.set_yticks(range(len(order)), [])
                ax.tick_params(axis="y", length=0)
                for line in range(1, len(order), 2):
                    ax.axhspan(line - 0.5, line + 0.5, color="#f6f6f6", zorder=0)
                ax.grid(visible=False, axis="y")
            row[0].set_yticks(range(len(order)), [parameters.label(name) for name in order])
            row[0].set_xlim(left=-0.02)
            row[0].set_xlabel("share of the importance")
            row[1].set_xlim(0.5, len(order) + 0.5)
            row[1].set_xlabel("rank")
        layout.key(
            figure, layout.variant_handles((s.setting.variant for s in info.studies if s.parameters), lines=False)
        )
    return figure


def _order(shown: list[Importance]) -> list[str]:
    """All parameters of these studies, by their mean share over the studies that search them."""
    shares: dict[str, list[float]] = {}
    for one in shown:
        for name, share in zip(one.parameters, one.shares, strict=True):
            shares.setdefault(name, []).append(share)
    names = list(PARAMETERS)
    return sorted(shares, key=lambda name: (-float(np.mean(shares[name])), names.index(name)))


def _marks(row: np.ndarray, one: Importance, places: dict[str, float]) -> None:
    colour, marker = style.colour(one.setting.variant), style.marker(one.setting.variant)
    y = [places[name] for name in one.parameters]
    row[0].plot(one.shares, y, marker, color=colour, markersize=4.5)
    ranks = range(1, len(y) + 1)
    _intervals(row[1], one, y, colour)
    row[1].plot(ranks, y, marker, color=colour, markersize=4.5)


def _intervals(ax: Axes, one: Importance, y: list[float], colour: str) -> None:
    sure = [
        (at, low, high)
        for at, low, high in zip(y, one.rank_low, one.rank_high, strict=True)
        if low is not None and high is not None
    ]
    if sure:
        at, low, high = zip(*sure, strict=True)
        ax.hlines(at, low, high, color=colour, linewidth=1.2, alpha=0.55)


def _note(found: list[Importance]) -> str:
    shown, rest = [s for s in found if s.parameters], [s for s in found if not s.parameters]
    text = f"{span((s.num_draws for s in shown), 'random draw')} each"
    if any(value is None for s in shown for value in s.rank_low):
        text += "; too few for an interval of the rank"
    if rest:
        few = ", ".join(f"{style.short_label(s.setting.variant)} ({s.num_draws})" for s in rest)
        text += f"\ntoo few draws to say anything: {few}"
    return text


@register(
    "importance",
    title="Importance of the hyperparameters",
    caption=(
        f"PED-ANOVA (Watanabe et al., 2023) on the random block: how much the best {QUANTILE:.0%} of the draws differ "
        "from all of them in each parameter alone, as a share of the sum over parameters. Its rank is drawn again over "
        f"{NUM_BOOTSTRAP} bootstrap samples of the draws: a rank whose interval spans half the parameters has not been "
        "found out. A draw that diverged counts as the uniform distribution."
    ),
    draw=draw_importance,
    parts=lambda info: [
        part
        for part in parts_by_corpus(info.studies, lambda items: ImportanceInfo(studies=items))
        if not part.info.is_empty
    ],
    needs=f"no study has {MIN_DRAWS} random draws that have ended yet",
)
def importances(results: Results) -> ImportanceInfo:
    """Every study with a random draw that has ended."""
    found = (_importance(study) for study in studies(results))
    return ImportanceInfo(studies=tuple(one for one in found if one.num_draws))


def _importance(study: SettingStudy) -> Importance:
    block = random_block(study)
    draws = study.trials.set_index("trial_id").loc[list(block.trial_ids)]
    names = [name for name in searched(draws) if draws[name].notna().all()]
    enough = len(draws) >= MIN_DRAWS and bool(names)
    frame = importance_ranks(draws[names], block.losses, num_bootstrap=NUM_BOOTSTRAP) if enough else None
    return Importance(
        setting=study.setting,
        study=study.study,
        trial_ids=block.trial_ids if enough else (),
        num_draws=len(draws),
        parameters=tuple(frame["parameter"]) if frame is not None else (),
        shares=tuple(frame["importance"].tolist()) if frame is not None else (),
        rank_low=optional(frame["rank_low"]) if frame is not None else (),
        rank_high=optional(frame["rank_high"]) if frame is not None else (),
    )
