"""Two figures of ASHA.

``asha_rungs``: a line per trial, the rungs, and the number of trials stopped at each. ``asha_audit``: the trials that
ASHA might not stop, those that it would have stopped beside the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from analysis.figures import axes as parameters
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import (
    OfStudy,
    StudiesInfo,
    by_group,
    counted,
    curves,
    optional,
    parts_by_corpus,
    span,
    status_counts,
    studies,
)
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy
from analysis.records.trials import best_of_search, protected
from trainables.recipes import VARIANTS


@dataclass(frozen=True, kw_only=True)
class Path:
    """A trial of the tpe block, epoch by epoch."""

    trial_id: str
    status: str
    audit: bool
    epochs: tuple[int, ...]
    ppl: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RungsOfStudy(OfStudy):
    """The tpe block of one study and ASHA's rungs."""

    rungs: tuple[int, ...]
    num_stopped: tuple[int, ...]
    """At each rung."""
    counts: tuple[tuple[str, int], ...]
    """(status, trials)."""
    share_saved: float | None
    """Share of the epochs of the trials that ASHA might stop, and that have ended, which were not run."""
    paths: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class RungsInfo(StudiesInfo[RungsOfStudy]):
    """The studies with a tpe trial that has an epoch."""

    def frame(self) -> pd.DataFrame:
        """A row per trial, with the rung at which it was stopped."""
        return pd.DataFrame(
            [
                {
                    **s.setting._asdict(), "status": p.status, "audit": p.audit, "num_epochs": p.epochs[-1],
                    "last_valid_ppl": p.ppl[-1], "rungs": s.rungs, "study": s.study,
                    "trial_id": p.trial_id,
                }
                for s in self.studies
                for p in s.paths
            ]
        )  # fmt: skip


def draw_rungs(info: RungsInfo) -> Canvas:
    """A row per size, a panel per variant: a line per trial, the rungs, and how many were stopped at each."""
    groups = by_group(info.studies)
    variants = [v for v in VARIANTS if any(s.setting.variant == v for s in info.studies)]
    variants += sorted({s.setting.variant for s in info.studies} - set(variants))
    with style.style():
        wide = len(variants) > 2
        figure, axes = layout.grid(
            len(groups), len(variants), height=2.3, width=layout.WIDTH if wide else 5.6, top=1.0 if wide else 1.2,
            between=(0.3, 1.25),
        )  # fmt: skip
        for row, (corpus, size, found) in zip(axes, groups, strict=True):
            low, high, last = _limits(found)
            by_variant = {s.setting.variant: s for s in found}
            shown = [
                (ax, by_variant[variant]) for ax, variant in zip(row, variants, strict=True) if variant in by_variant
            ]
            for place, (ax, one) in enumerate(shown):
                _paths(ax, one)
                _rungs(ax, one)
                ax.set_xlim(0, last * 1.03)
                ax.xaxis.set_major_locator(MaxNLocator(5, steps=layout.STEPS, integer=True))
                ax.set_xlabel("epoch")
                name = style.short_label(one.setting.variant)
                layout.head(ax, name if place else f"{place_title(corpus, size)}\n{name}", _rungs_note(one))
            first = shown[0][0]
            first.set_yscale("log")
            first.set_ylim(low, high)
            ticks = parameters.log_ticks(low, high, at_most=6) or [low, high]
            first.yaxis.set_major_locator(FixedLocator(ticks))
            first.yaxis.set_minor_locator(NullLocator())
            first.set_yticklabels([f"{tick:g}" for tick in ticks])
            first.set_ylabel("validation perplexity")
            layout.share_y(first, [ax for ax, _ in shown[1:]])
            for ax, variant in zip(row, variants, strict=True):
                if variant not in by_variant:
                    ax.remove()
        handles = [
            Line2D([], [], color=style.GREY, linewidth=1.2, label="trained to the end"),
            Line2D([], [], color=style.GREY, linewidth=1.2, linestyle=_AUDIT, label="of the audit arm"),
            Line2D([], [], color=_STOPPED, linewidth=0.8, marker="o", markersize=3, label="stopped"),
        ]
        if any(s.rungs for s in info.studies):
            text = "rung, and trials stopped at it"
            handles.append(Line2D([], [], color=style.INK, linewidth=0.8, linestyle=":", label=text))
        layout.key(figure, handles, columns=4 if wide else 2)
    return figure


_STOPPED = "#a8a8a8"
_AUDIT = (0, (2.5, 1.2))


def _paths(ax: Axes, one: RungsOfStudy) -> None:
    colour = style.colour(one.setting.variant)
    looks: tuple[tuple[list[Path], dict[str, Any]], ...] = (
        ([p for p in one.paths if p.status != "complete"], {"colors": _STOPPED, "linewidths": 0.6}),
        ([p for p in one.paths if p.status == "complete" and not p.audit], {"colors": colour, "linewidths": 0.7}),
        (
            [p for p in one.paths if p.status == "complete" and p.audit],
            {"colors": colour, "linewidths": 1.1, "linestyles": [_AUDIT]},
        ),
    )
    for chosen, look in looks:
        lines = [np.column_stack([p.epochs, p.ppl]) for p in chosen]
        ax.add_collection(LineCollection(lines, alpha=0.75, **look))
    for status, mark in (("pruned", "o"), ("failed", "x")):
        ends = [(p.epochs[-1], p.ppl[-1]) for p in one.paths if p.status == status]
        if ends:
            ax.plot(*zip(*ends, strict=True), mark, color="#7d7d7d", markersize=2.5 if mark == "o" else 4)


def _rungs(ax: Axes, one: RungsOfStudy) -> None:
    for rung, number in zip(one.rungs, one.num_stopped, strict=True):
        ax.axvline(rung, color=style.INK, linewidth=0.8, linestyle=":", alpha=0.7)
        ax.annotate(
            f"-{number}" if number else "0", (rung, 1), (2, -2), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=8, color=style.INK, bbox=style.BEHIND_TEXT,
        )  # fmt: skip


def _limits(found: Sequence[RungsOfStudy]) -> tuple[float, float, int]:
    """(lowest, highest perplexity, last epoch) of the panels of a row: from the first rung on all is in view."""
    values = [ppl for s in found for p in s.paths for ppl in p.ppl]
    first = min((s.rungs[0] for s in found if s.rungs), default=1)
    at_first = [p.ppl[i] for s in found for p in s.paths for i, e in enumerate(p.epochs) if e == first] or values
    low = min(values)
    return (
        low / 1.03,
        max(float(np.quantile(at_first, 0.9)), 1.1 * low) * 1.06,
        max(p.epochs[-1] for s in found for p in s.paths),
    )


def _rungs_note(one: RungsOfStudy) -> str:
    counts = dict(one.counts)
    names = (("complete", "complete"), ("pruned", "stopped"), ("failed", "failed"), ("interrupted", "unfinished"))
    text = ", ".join(f"{counts[status]} {name}" for status, name in names if counts[status])
    return text + (f"\n{one.share_saved:.0%} of epochs saved" if one.share_saved is not None else "\n")


@register(
    "asha_rungs",
    title="ASHA's rungs",
    caption=(
        "The tpe trials by epoch. At each rung (dotted) ASHA stops a trial that is not among the better half of those "
        "that came there before (the best third in studies without a select block); the number of trials stopped "
        "there stands beside it. It may not stop the audit arm. Epochs saved: of the trials that it might stop and "
        "that have ended. The first epochs are cut off."
    ),
    draw=draw_rungs,
    parts=parts_by_corpus,
    needs="no trial of a tpe block has finished an epoch yet",
)
def asha_rungs(results: Results) -> RungsInfo:
    """Every study with a tpe trial that has finished an epoch."""
    found = (_rungs_of(results, study) for study in studies(results))
    return RungsInfo(studies=tuple(one for one in found if one is not None))


def rungs_of(results: Results, study: SettingStudy) -> tuple[int, ...]:
    """The epochs at which ASHA compared this study's trials, from its latest run; empty where no run says."""
    runs = results.runs[(results.runs["study"] == study.study)]
    runs = runs[runs[["grace_period", "reduction_factor", "max_epochs"]].notna().all(axis=1)]
    if runs.empty:
        return ()
    rung, factor, last = (int(runs[c].iloc[-1]) for c in ("grace_period", "reduction_factor", "max_epochs"))
    rungs = []
    while 0 < rung < last and factor > 1:
        rungs.append(rung)
        rung *= factor
    return tuple(rungs)


def _rungs_of(results: Results, study: SettingStudy) -> RungsOfStudy | None:
    trials = study.trials[study.trials["block"] == "tpe"].sort_values("trial_id")
    found = curves(results, study)
    if not any(trial_id in found for trial_id in trials["trial_id"]):
        return None
    rungs = rungs_of(results, study)
    audit = protected(trials)
    stopped = trials.loc[trials["status"] == "pruned", "num_epochs"].astype(float)
    ended = trials[~audit & trials["status"].isin(["complete", "pruned"])]
    planned = float(ended["max_epochs"].sum())
    paths = []
    for trial_id, status, audited in zip(trials["trial_id"], trials["status"], audit, strict=True):
        if trial_id in found:
            epochs, ppl = (tuple(values.tolist()) for values in found[trial_id])
            paths.append(Path(trial_id=trial_id, status=status, audit=bool(audited), epochs=epochs, ppl=ppl))
    return RungsOfStudy(
        setting=study.setting,
        study=study.study,
        rungs=rungs,
        num_stopped=tuple(int((stopped == rung).sum()) for rung in rungs),
        counts=tuple(status_counts(trials).items()),
        share_saved=1.0 - float(ended["num_epochs"].sum()) / planned if planned else None,
        paths=tuple(paths),
    )


@dataclass(frozen=True, kw_only=True)
class ProtectedTrial:
    """A search trial that ASHA might not stop, trained to its end."""

    trial_id: str
    arm: str
    """``audit`` (of the tpe block), ``random`` or ``default``."""
    ppl: float
    """Lowest validation perplexity."""
    would_stop_epoch: int | None
    """Epoch at which ASHA would have stopped it; None where it would not."""


@dataclass(frozen=True, kw_only=True)
class Audit(OfStudy):
    """The protected trials of one study."""

    trials: tuple[ProtectedTrial, ...]
    num_failed: int
    num_unfinished: int

    def best(self, *, stopped: bool) -> float | None:
        """Lowest perplexity among those that ASHA would have stopped, or would not have."""
        return min((t.ppl for t in self.trials if (t.would_stop_epoch is not None) == stopped), default=None)


@dataclass(frozen=True, kw_only=True)
class AuditInfo(StudiesInfo[Audit]):
    """The studies with two or more complete protected trials."""

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
            layout.head(ax, place_title(corpus, size), _audit_note(found))
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
    parts=parts_by_corpus,
    needs="no study has two complete trials that ASHA might not stop yet",
)
def asha_audit(results: Results) -> AuditInfo:
    """Every study with two or more complete trials that ASHA might not stop."""
    found = (_audit_of(study) for study in studies(results))
    return AuditInfo(studies=tuple(one for one in found if len(one.trials) > 1))


def _audit_of(study: SettingStudy) -> Audit:
    search = study.search.sort_values("trial_id")
    kept = search[protected(search)]
    counts = status_counts(kept)
    done = best_of_search(kept).sort_values("trial_id")
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
