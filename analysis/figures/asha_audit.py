"""What stopping early would have lost: trials that ASHA might not stop, by what it would have done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import (
    by_group,
    counted,
    group_title,
    optional,
    parts_by_corpus,
    span,
    status_counts,
    studies,
)
from analysis.measures.settings import SettingStudy
from analysis.records.load import Results
from study.records.records import Setting


@dataclass(frozen=True, kw_only=True)
class ProtectedTrial:
    """A search trial that ASHA might not stop, trained to its end."""

    trial_id: str
    arm: str
    """``audit`` (of the tpe block), ``random`` or ``default``."""
    ppl: float
    """Lowest validation perplexity."""
    would_stop_epoch: int | None
    """Where ASHA would have stopped it; None where it would not."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The protected trials of one study."""

    setting: Setting
    study: str
    trials: tuple[ProtectedTrial, ...]
    num_failed: int
    num_unfinished: int

    def best(self, *, stopped: bool) -> float | None:
        """Lowest perplexity among those that ASHA would have stopped, or would not have."""
        return min((t.ppl for t in self.trials if (t.would_stop_epoch is not None) == stopped), default=None)


@dataclass(frozen=True, kw_only=True)
class AuditInfo:
    """The studies with two or more complete protected trials, in the registries' order of settings."""

    studies: tuple[Audit, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return not self.studies

    def frame(self) -> pd.DataFrame:
        """A row per trial."""
        return pd.DataFrame(
            [
                {
                    **s.setting._asdict(), "arm": t.arm, "valid_ppl": t.ppl, "would_stop_epoch": t.would_stop_epoch,
                    "study": s.study, "trial_id": t.trial_id,
                }
                for s in self.studies
                for t in s.trials
            ]
        )  # fmt: skip


def draw_audit(info: AuditInfo) -> Canvas:
    """Two panels in a row, one per corpus and size: for each variant the trials kept, and those given up."""
    groups = by_group(info.studies)
    num_columns = min(2, len(groups))
    with style.style():
        width, top = (layout.WIDTH, 0.85) if num_columns > 1 else (5.6, 1.0)
        figure, axes = layout.grid(
            -(-len(groups) // num_columns), num_columns, height=2.4, top=top, bottom=0.75, between=(0.7, 1.3),
            width=width,
        )  # fmt: skip
        for ax, (corpus, size, found) in zip(axes.flat, groups, strict=False):
            low = min(t.ppl for s in found for t in s.trials)
            every = [t.ppl for s in found for t in s.trials]
            high = max(float(np.quantile(every, 0.85)), low * 1.02)
            ax.set_ylim(low - 0.16 * (high - low), high + 0.05 * (high - low))
            for place, one in enumerate(found):
                _audit(ax, one, place, high)
            layout.head(ax, group_title(corpus, size), _audit_note(found))
            ticks = [
                (place + side, name) for place in range(len(found)) for side, name in ((-0.2, "kept"), (0.2, "stopped"))
            ]
            ax.set_xticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=style.SMALL)
            ax.tick_params(axis="x", length=0)
            ax.set_xlim(-0.55, len(found) - 0.45)
            ax.grid(visible=False, axis="x")
            ax.set_ylabel("validation perplexity")
        layout.remove_unused(axes, len(groups))
        handles = [
            layout.mark("audit arm", "o"),
            layout.mark("random draws and the recipe", "o", markerfacecolor="white"),
            layout.mark("best of each", "_", markeredgewidth=2, markersize=11),
        ]
        layout.key(figure, handles, columns=3 if num_columns > 1 else 2)
    return figure


def _audit(ax: Axes, one: Audit, place: int, high: float) -> None:
    colour = style.colour(one.setting.variant)
    for stopped, side in ((False, -0.2), (True, 0.2)):
        trials = [t for t in one.trials if (t.would_stop_epoch is not None) == stopped]
        for audit, fill in ((True, colour), (False, "white")):
            shown = [t for t in trials if (t.arm == "audit") == audit]
            x = [place + side + 0.1 * ((i * 0.618) % 1.0 - 0.5) * 2 for i in range(len(shown))]
            y = [min(t.ppl, high) for t in shown]
            ax.plot(x, y, "o", color=colour, markerfacecolor=fill, markersize=4, markeredgewidth=0.9, alpha=0.85)
        if (best := one.best(stopped=stopped)) is not None and best <= high:
            ax.hlines(best, place + side - 0.17, place + side + 0.17, color=colour, linewidth=2)
    kept, stopped_best = one.best(stopped=False), one.best(stopped=True)
    gap = f"{stopped_best - kept:+.1f} ppl" if kept is not None and stopped_best is not None else "none stopped"
    gap = "none kept" if kept is None else gap
    ax.annotate(
        f"{style.short_label(one.setting.variant)}\n{gap}", (place, 0), (0, -17), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="center", va="top", fontsize=8, color=colour,
    )  # fmt: skip


def _audit_note(found: Sequence[Audit]) -> str:
    trials = [t for s in found for t in s.trials]
    audited = sum(t.arm == "audit" for t in trials)
    text = f"{span([len(trials)], 'trial')}, {audited} of the audit arm"
    text += counted(sum(s.num_failed for s in found), "failed")
    return text + counted(sum(s.num_unfinished for s in found), "unfinished")


@register(
    "asha_audit",
    title="What stopping early would have lost",
    caption=(
        "Trials that ASHA might not stop (a sample of the tpe trials, the random draws and the recipe), by what it "
        "would have done to them. The number under each pair is the best of those stopped minus the best of those "
        "kept: above zero, stopping loses nothing. Trials above the panel stand at its upper edge."
    ),
    draw=draw_audit,
    parts=lambda info: parts_by_corpus(info.studies, lambda items: AuditInfo(studies=items)),
    needs="no study has two complete trials that ASHA might not stop yet",
)
def asha_audit(results: Results) -> AuditInfo:
    """Every study with two or more complete trials that ASHA might not stop."""
    found = (_audit_of(study) for study in studies(results))
    return AuditInfo(studies=tuple(one for one in found if len(one.trials) > 1))


def _audit_of(study: SettingStudy) -> Audit:
    search = study.search.sort_values("trial_id")
    protected = search[(search["block"] != "tpe") | search["audit"].fillna(False).astype(bool)]
    counts = status_counts(protected)
    done = protected[(protected["status"] == "complete") & np.isfinite(protected["best_valid_ppl"].astype(float))]
    arms = done["block"].replace("tpe", "audit")
    trials = zip(done["trial_id"], arms, done["best_valid_ppl"], optional(done["would_stop_epoch"]), strict=True)
    return Audit(
        setting=study.setting,
        study=study.study,
        trials=tuple(
            ProtectedTrial(trial_id=t, arm=arm, ppl=float(ppl), would_stop_epoch=None if e is None else int(e))
            for t, arm, ppl, e in trials
        ),
        num_failed=counts["failed"],
        num_unfinished=counts["interrupted"],
    )
