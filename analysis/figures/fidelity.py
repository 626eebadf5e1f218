"""How well each epoch predicts the end of a trial: rank correlation and regret."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures import layout, style
from analysis.figures.asha import rungs_of
from analysis.figures.figure import register
from analysis.figures.panels import OfStudy, StudiesInfo, by_group, optional, parts_by_corpus, span, studies
from analysis.measures.fidelity import fidelity, unpruned_epochs
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy


@dataclass(frozen=True, kw_only=True)
class Fidelity(OfStudy):
    """Rank correlation and regret at each epoch of one study."""

    trial_ids: tuple[str, ...]
    epochs: tuple[int, ...]
    spearman: tuple[float | None, ...]
    """Rank correlation with the end; None where the trials are too few or tied."""
    regret_ppl: tuple[float, ...]
    """Perplexity by which the leader's end lies above the best end."""
    rungs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FidelityInfo(StudiesInfo[Fidelity]):
    """The studies with two or more unpruned trials."""

    def frame(self) -> pd.DataFrame:
        """A row per study and epoch."""
        return pd.DataFrame(
            [
                {
                    **s.setting._asdict(), "epoch": epoch, "spearman": rho, "regret_ppl": regret,
                    "num_trials": len(s.trial_ids), "study": s.study, "trial_ids": s.trial_ids,
                }
                for s in self.studies
                for epoch, rho, regret in zip(s.epochs, s.spearman, s.regret_ppl, strict=True)
            ]
        )  # fmt: skip


def draw_fidelity(info: FidelityInfo) -> Canvas:
    """A row per size: rank correlation and regret by epoch, ASHA's rungs dotted."""
    groups = by_group(info.studies)
    with style.style():
        figure, axes = layout.grid(len(groups), 2, height=2.1, between=(0.75, 0.95))
        for row, (corpus, size, found) in zip(axes, groups, strict=True):
            for one in found:
                look = {"color": style.colour(one.setting.variant), "linestyle": style.dash(one.setting.variant)}
                row[0].plot(one.epochs, np.array(one.spearman, dtype=float), **look)
                row[1].step(one.epochs, one.regret_ppl, where="mid", **look)
            layout.head(row[0], place_title(corpus, size), f"{span((len(s.trial_ids) for s in found), 'trial')} each")
            if all(rho is None for s in found for rho in s.spearman):
                row[0].annotate(
                    "too few trials, or all tied", (0.5, 0.5), xycoords="axes fraction", ha="center", color=style.GREY
                )
            row[0].set_ylim(min([0.0] + [rho for s in found for rho in s.spearman if rho is not None]) - 0.05, 1.05)
            row[0].set_ylabel("rank correlation with the end")
            row[1].set_ylabel("regret of choosing here, ppl")
            highest = max(max(s.regret_ppl) for s in found)
            row[1].set_ylim(-0.04 * (highest or 1.0), 1.08 * (highest or 1.0))
            for ax in row:
                for rung in sorted({rung for s in found for rung in s.rungs}):
                    ax.axvline(rung, color=style.INK, linewidth=0.8, linestyle=":", alpha=0.7)
                ax.set_xlim(0, max(s.epochs[-1] for s in found) * 1.02)
                ax.xaxis.set_major_locator(MaxNLocator(6, steps=layout.STEPS, integer=True))
                ax.set_xlabel("epoch")
        handles = layout.variant_handles(s.setting.variant for s in info.studies)
        if any(s.rungs for s in info.studies):
            handles.append(Line2D([], [], color=style.INK, linewidth=0.8, linestyle=":", label="rung of ASHA"))
        layout.key(figure, handles)
    return figure


@register(
    "fidelity",
    title="What early epochs say of the end",
    caption=(
        "Over the complete trials that ASHA might not stop (the recipe, the random draws, the audit arm), each by its "
        "lowest validation perplexity so far. Left: Spearman's rank correlation with the values at the end. Right: by "
        "how much the final perplexity of the trial that leads at an epoch exceeds the best final one, so zero from "
        "the epoch on at which choosing would have been right. Trials that ASHA could stop are left out: those that "
        "reached the end are survivors."
    ),
    draw=draw_fidelity,
    parts=parts_by_corpus,
    needs="no study has two complete trials that ASHA might not stop yet",
)
def fidelities(results: Results) -> FidelityInfo:
    """Every study with two or more such trials."""
    found = (_fidelity(results, study) for study in studies(results))
    return FidelityInfo(studies=tuple(one for one in found if one is not None))


def _fidelity(results: Results, study: SettingStudy) -> Fidelity | None:
    epochs = unpruned_epochs(results, study)
    ids = tuple(sorted(epochs["trial_id"].unique()))
    if len(ids) < 2:
        return None
    frame = fidelity(epochs)
    if frame.empty:
        return None
    return Fidelity(
        setting=study.setting, study=study.study, trial_ids=ids, epochs=tuple(frame["epoch"].astype(int).tolist()),
        spearman=optional(frame["spearman"]), regret_ppl=tuple(frame["regret_ppl"].tolist()),
        rungs=rungs_of(results, study),
    )  # fmt: skip
