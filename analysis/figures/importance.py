"""Importance of the searched parameters among the random draws: PED-ANOVA, above its permutation null."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis.figures import axes as parameters
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import OfStudy, StudiesInfo, by_group, parts_by_corpus, span, studies
from analysis.measures.best_of_n import random_block
from analysis.parameters import searched
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy
from analysis.stats.importance import MIN_DRAWS, QUANTILE, ped_anova
from study.records.parameters import PARAMETERS


@dataclass(frozen=True, kw_only=True)
class StudyImportance(OfStudy):
    """One study's importances."""

    trial_ids: tuple[str, ...]
    """The random draws behind them; none where there are too few."""
    num_draws: int
    shares: tuple[tuple[str, float], ...]
    """(parameter, share of the sum over parameters), the most important first."""
    null: float | None
    """Share that no parameter exceeds by chance in 95 % of studies; None without shares."""

    @property
    def is_drawn(self) -> bool:
        """Whether there are enough draws."""
        return bool(self.shares)

    @property
    def above_null(self) -> dict[str, float]:
        """Parameter -> share, where it exceeds the null."""
        return {name: share for name, share in self.shares if self.null is not None and share > self.null}


@dataclass(frozen=True, kw_only=True)
class ImportanceInfo(StudiesInfo[StudyImportance]):
    """The studies with a random draw."""

    def frame(self) -> pd.DataFrame:
        """A row per study and parameter."""
        return pd.DataFrame(
            [
                {
                    **s.setting._asdict(), "parameter": name, "importance": share, "null": s.null,
                    "num_draws": s.num_draws, "study": s.study, "trial_ids": s.trial_ids,
                }
                for s in self.studies
                for name, share in s.shares
            ]
        )  # fmt: skip


def draw_importance(info: ImportanceInfo) -> Canvas:
    """A panel per size: the shares above the null, a line of marks per parameter, the null dashed."""
    groups = [(corpus, size, found) for corpus, size, found in by_group(info.studies) if any(s.shares for s in found)]
    with style.style():
        figure, axes = layout.grid(
            len(groups), 1, height=2.9, width=6.5, left=1.3, top=1.15, between=(0.3, 1.1), right=0.2
        )
        for ax, (corpus, size, found) in zip(axes.flat, groups, strict=True):
            shown = [s for s in found if s.is_drawn]
            names = [name for name in PARAMETERS if any(name in dict(s.shares) for s in shown)]
            for place, one in enumerate(shown):
                _marks(ax, one, names, 0.72 * (place - (len(shown) - 1) / 2) / len(shown))
            layout.head(ax, place_title(corpus, size), _note(found))
            ax.set_ylim(len(names) - 0.4, -0.6)
            ax.set_yticks(range(len(names)), [parameters.label(name) for name in names])
            ax.tick_params(axis="y", length=0)
            for line in range(1, len(names), 2):
                ax.axhspan(line - 0.5, line + 0.5, color="#f6f6f6", zorder=0)
            ax.grid(visible=False, axis="y")
            ax.set_xlim(0, 1.02)
            ax.set_xlabel("share of the importance")
        handles = layout.variant_handles((s.setting.variant for s in info.drawn), lines=False)
        handles.append(Line2D([], [], color=style.GREY, linewidth=0.9, linestyle="--", label="chance"))
        layout.key(figure, handles, columns=3)
    return figure


def _marks(ax: Axes, one: StudyImportance, names: list[str], shift: float) -> None:
    colour, above = style.colour(one.setting.variant), one.above_null
    y = np.array([names.index(name) for name in above]) + shift
    ax.plot(list(above.values()), y, style.marker(one.setting.variant), color=colour, markersize=4.5)
    if one.null is not None:
        ax.axvline(one.null, color=colour, linewidth=0.9, linestyle="--", alpha=0.7)


def _note(found: list[StudyImportance]) -> str:
    shown = [s for s in found if s.is_drawn]
    few = [f"{style.short_label(s.setting.variant)} ({s.num_draws})" for s in found if not s.is_drawn]
    none = [style.short_label(s.setting.variant) for s in shown if not s.above_null]
    text = f"{span((s.num_draws for s in shown), 'random draw')} each"
    text += f"; too few draws: {', '.join(few)}" if few else ""
    return text + (f"\nno parameter above chance: {', '.join(none)}" if none else "")


@register(
    "importance",
    title="Importance of the hyperparameters",
    caption=(
        f"PED-ANOVA (Watanabe et al., 2023) on the random block: how much the best {QUANTILE:.0%} of the draws differ "
        "from all of them in each parameter alone, as a share of the sum over parameters. A share is shown only above "
        "chance (dashed): the level that the largest share of any parameter exceeds in 5% of random permutations of "
        "the losses over the draws. A draw that diverged counts as the uniform distribution."
    ),
    draw=draw_importance,
    parts=parts_by_corpus,
    needs=f"no study has {MIN_DRAWS} random draws that have ended yet",
)
def importances(results: Results) -> ImportanceInfo:
    """Every study with a random draw that has ended."""
    found = (_importance(study) for study in studies(results))
    return ImportanceInfo(studies=tuple(one for one in found if one.num_draws))


def _importance(study: SettingStudy) -> StudyImportance:
    block = random_block(study)
    draws = study.trials.set_index("trial_id").loc[list(block.trial_ids)]
    names = [name for name in searched(draws) if draws[name].notna().all()]
    found = ped_anova(draws[names], block.losses) if len(draws) >= MIN_DRAWS and names else None
    return StudyImportance(
        setting=study.setting,
        study=study.study,
        trial_ids=block.trial_ids if found else (),
        num_draws=len(draws),
        shares=tuple(found.shares.items()) if found else (),
        null=found.null if found else None,
    )
