"""Map of a search's trials in tau and gamma, with those within 1.0 perplexity of the best ringed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from analysis.figures import axes as parameters
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import OfStudy, StudiesInfo, by_group, counted, optional, parts_by_corpus, span, studies
from analysis.measures.plateau import plateau
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy
from analysis.stats.contrasts import MARGIN_PPL
from trainables.recipes import VARIANTS


@dataclass(frozen=True, kw_only=True)
class MapPoint:
    """A trial of the search."""

    trial_id: str
    block: str
    status: str
    tau: float
    gamma: float
    ppl: float | None
    """Lowest validation perplexity; None where it has none, or where its loss diverged."""
    within: bool
    """Whether it ran to its end within the margin of the best."""


@dataclass(frozen=True, kw_only=True)
class TauGammaMap(OfStudy):
    """One search of a variant with the augmented loss."""

    points: tuple[MapPoint, ...]
    best_ppl: float | None
    share_area: float | None
    """Share of the searched rectangle whose nearest trial is within the margin; None where it cannot be said."""

    @property
    def is_drawn(self) -> bool:
        """Whether a trial is complete."""
        return any(p.ppl is not None and p.status == "complete" for p in self.points)


@dataclass(frozen=True, kw_only=True)
class TauGammaInfo(StudiesInfo[TauGammaMap]):
    """The searches."""

    def frame(self) -> pd.DataFrame:
        """A row per trial."""
        return pd.DataFrame(
            [
                {
                    **m.setting._asdict(), "tau": p.tau, "gamma": p.gamma, "valid_ppl": p.ppl, "status": p.status,
                    "block": p.block, f"within_{MARGIN_PPL:g}_ppl": p.within, "study": m.study, "trial_id": p.trial_id,
                }
                for m in self.studies
                for p in m.points
            ]
        )  # fmt: skip


def draw_tau_gamma(info: TauGammaInfo) -> Canvas:
    """A row per size with a panel per variant and the row's scale of colours."""
    groups = by_group(info.drawn)
    num = max(len(maps) for _, _, maps in groups)
    with style.style():
        width, top = (layout.WIDTH, 0.95) if num > 1 else (5.4, 1.15)
        figure, axes = layout.grid(
            len(groups), num + 1, height=2.6, width=width, right=0.55, top=top,
            between=(0.55, 1.05), width_ratios=[*([1.0] * num), 0.04],
        )  # fmt: skip
        for row, (corpus, size, maps) in zip(axes, groups, strict=True):
            values = [p.ppl for m in maps for p in m.points if p.ppl is not None and p.status == "complete"]
            norm = Normalize(min(values), max(float(np.quantile(values, 0.9)), min(values) + MARGIN_PPL))
            every = [p for m in maps for p in m.points]
            for ax, one in zip(row, maps, strict=False):
                _panel(ax, one, norm)
                _set_limits(ax, [p.tau for p in every], [p.gamma for p in every])
                layout.head(ax, f"{place_title(corpus, size)}, {style.short_label(one.setting.variant)}", _note(one))
                ax.set_xlabel("tau, temperature")
            row[0].set_ylabel("gamma = alpha / tau")
            for ax in row[len(maps) : num]:
                ax.remove()
            bar = figure.colorbar(
                ScalarMappable(norm, style.PERPLEXITY_COLOURS),
                cax=row[num],
                extend="max",
                ticks=MaxNLocator(5, steps=layout.STEPS),
            )
            bar.set_label("validation perplexity")
            bar.outline.set_visible(False)
        marks = [
            layout.mark(f"within {MARGIN_PPL:g} ppl of the best", "o", **_RING),
            layout.mark("the paper's recipe", "*", color=style.INK, markersize=9),
            layout.mark("stopped by ASHA, or unfinished", ".", markersize=4),
            layout.mark("diverged or failed", "x", markersize=5),
        ]
        layout.key(figure, marks, columns=4 if num > 1 else 2)
    return figure


_RING: dict[str, Any] = {
    "markerfacecolor": "none",
    "markeredgecolor": style.ACCENT,
    "markeredgewidth": 1.6,
    "markersize": 9,
}


def _panel(ax: Axes, one: TauGammaMap, norm: Normalize) -> None:
    def pick(*statuses: str) -> list[MapPoint]:
        return [p for p in one.points if p.status in statuses]

    for points, marker, size in ((pick("pruned", "interrupted"), ".", 4), (pick("failed"), "x", 5)):
        ax.plot([p.tau for p in points], [p.gamma for p in points], marker, color="#9a9a9a", markersize=size)
    done = [p for p in pick("complete") if p.ppl is not None]
    for marker, area, points in (
        ("o", 34, [p for p in done if p.block != "default"]),
        ("*", 130, [p for p in done if p.block == "default"]),
    ):
        if points:
            ax.scatter(
                [p.tau for p in points], [p.gamma for p in points], c=np.array([p.ppl for p in points], dtype=float),
                marker=marker, s=area, cmap=style.PERPLEXITY_COLOURS, norm=norm, linewidths=0.4, edgecolors="white",
                zorder=3,
            )  # fmt: skip
    within = [p for p in one.points if p.within]
    ax.plot([p.tau for p in within], [p.gamma for p in within], "o", zorder=4, **_RING)


def _set_limits(ax: Axes, taus: list[float], gammas: list[float]) -> None:
    parameters.set_axis(ax, "tau", min(taus), max(taus))
    pad = 0.06 * (max(gammas) - min(gammas)) or 0.1
    ax.set_ylim(min(gammas) - pad, max(gammas) + pad)


def _note(one: TauGammaMap) -> str:
    counts = {s: sum(p.status == s for p in one.points) for s in ("complete", "pruned", "failed", "interrupted")}
    within = [p for p in one.points if p.within]
    lines = [span([counts["complete"]], "complete trial") + "".join(counted(counts[s], s) for s in list(counts)[1:])]
    if within and one.best_ppl is not None:
        text = f"{len(within)} within {MARGIN_PPL:g} of {one.best_ppl:.1f}"
        if len(within) > 1:
            text += ": " + ", ".join(
                f"{name} {min(values):.2g} to {max(values):.2g}"
                for name in ("tau", "gamma")
                for values in [[getattr(p, name) for p in within]]
            )
        lines.append(text + (f"; {one.share_area:.0%} of the area" if one.share_area is not None else ""))
    return "\n".join(lines)


@register(
    "tau_gamma",
    title="Temperature and weight of the augmented loss",
    caption=(
        "Each trial of the search at its tau (logarithmic) and gamma = alpha / tau, coloured by its lowest validation "
        f"perplexity; a ring marks those within {MARGIN_PPL:g} ppl of the search's best, the plateau. The share of the "
        "area is that of the searched rectangle whose nearest trial is on it. The other parameters differ from trial "
        "to trial, so a bad trial need not be bad for its tau and gamma. Trials that did not run to their end have no "
        "colour."
    ),
    draw=draw_tau_gamma,
    parts=parts_by_corpus,
    needs="no trial of a search in tau and gamma is complete yet",
)
def tau_gamma(results: Results) -> TauGammaInfo:
    """Every search of a variant with the augmented loss."""
    augmented = (
        s for s in studies(results) if s.setting.variant in VARIANTS and VARIANTS[s.setting.variant].augmented_loss
    )
    return TauGammaInfo(studies=tuple(m for m in (_map(study) for study in augmented) if m.points))


def _map(study: SettingStudy) -> TauGammaMap:
    search = study.search.sort_values("trial_id")
    search = search[search["tau"].notna() & search["gamma"].notna()]
    found = plateau(study)
    ppl = search["best_valid_ppl"].astype(float)
    within = set(found.trial_ids) if found else set()
    columns = (search[name].tolist() for name in ("trial_id", "block", "status", "tau", "gamma"))
    points = zip(*columns, optional(ppl.where(search["status"] != "failed")), strict=True)
    return TauGammaMap(
        setting=study.setting,
        study=study.study,
        points=tuple(
            MapPoint(
                trial_id=trial_id, block=block, status=status, tau=float(tau), gamma=float(gamma), ppl=value,
                within=trial_id in within,
            )
            for trial_id, block, status, tau, gamma, value in points
        ),
        best_ppl=found.best_ppl if found else None,
        share_area=found.share_area if found else None,
    )  # fmt: skip
