"""Figure 1: the distance between output projection and input embedding under the augmented loss (section 6.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis import paper
from analysis.figures import layout, style
from analysis.figures.figure import register
from analysis.figures.panels import span
from analysis.measures.figure1 import last_epochs, other_setting
from analysis.records.load import Results
from analysis.stats.intervals import CONFIDENCE, t_interval
from trainables.recipes import FIGURE1, TARGET_GRADIENTS

PANEL_B_BETA = 1.0
FLOOR = FIGURE1.hidden_size**-0.5
"""Distance of L and L B + 1 c^T, whatever the invertible B and the long c: one of H directions is lost."""
_GRADIENT = {
    "flow": "gradient flows through the target distribution",
    "stop": "gradient stops at the target distribution",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """The runs of one setting."""

    panel: str
    """``a``: distance against beta at tau 10; ``b``: against tau at beta 1."""
    target_gradient: str
    beta: float
    tau: float
    distances: tuple[float, ...]
    """After the last epoch of each complete run, in the order of ``trial_ids``."""
    mean: float | None
    low: float | None
    high: float | None
    """Ends of the t-interval of the mean; None where the runs cannot carry one."""
    centred: tuple[float, ...]
    """Distances of the same runs' matrices without their columns' means; empty where an older run has none."""
    explained: tuple[float, ...]
    """Of the same runs: share of the targets' word vectors that the hidden states explain; empty as above."""
    num_unfinished: int
    num_failed: int
    last_epochs: tuple[int, ...]
    """Of the same runs: a run may end before its last epoch, where the distance no longer falls."""
    other_setting: str
    """How the runs differ from section 6.2's setting; empty if they do not."""
    study: str
    trial_ids: tuple[str, ...]

    @property
    def at(self) -> float:
        """Its place on the panel's horizontal axis."""
        return self.beta if self.panel == "a" else self.tau


@dataclass(frozen=True, kw_only=True)
class SubspaceInfo:
    """Both panels, in the order panel, target gradient, place."""

    points: tuple[Point, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no run has come to its end."""
        return not any(point.distances for point in self.points)

    def frame(self) -> pd.DataFrame:
        """A row per point, the paper's readings last."""
        rows = [
            {
                "panel": p.panel, "beta": p.beta, "tau": p.tau, "target_gradient": p.target_gradient,
                "mean_distance": p.mean, "low": p.low, "high": p.high, "num_runs": len(p.distances),
                "num_unfinished": p.num_unfinished, "num_failed": p.num_failed, "last_epochs": _listed(p.last_epochs),
                "distances": _listed(p.distances), "centred_distances": _listed(p.centred),
                "explained_shares": _listed(p.explained), "source": "ours", "study": p.study,
                "trial_ids": p.trial_ids,
            }
            for p in self.points
        ]  # fmt: skip
        readings = [
            {
                "panel": r.panel,
                "beta": r.beta,
                "tau": r.tau,
                "low": r.low,
                "high": r.high,
                "source": f"paper, {r.source}",
            }
            for r in paper.FIGURE_1
        ]
        return pd.DataFrame([*rows, *readings])


def _listed(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def draw_subspace(info: SubspaceInfo) -> Canvas:
    """Two panels; where both ways of the target's gradient were run, each has its colour."""
    gradients = list(dict.fromkeys(p.target_gradient for p in info.points if p.distances))
    with style.style():
        figure, axes = layout.grid(1, 2, height=3.0, top=0.85 if len(gradients) > 1 else 0.6, between=(0.8, 0.8))
        titles = {"a": "a  share of the augmented loss, tau = 10", "b": "b  temperature, augmented loss alone"}
        labels = {"a": "beta, share of the augmented loss (eq. 6.1)", "b": "tau, temperature"}
        for ax, panel in zip(axes.flat, "ab", strict=True):
            points = [p for p in info.points if p.panel == panel]
            _paper_readings(ax, panel)
            if panel == "b":
                _floor(ax)
            for place, gradient in enumerate(gradients):
                shift = 0.012 * (place - (len(gradients) - 1) / 2) * (1.0 if panel == "a" else 40.0)
                _series(ax, [p for p in points if p.target_gradient == gradient and p.distances], gradient, shift)
            layout.head(ax, titles[panel], _note(points))
            ax.set_xlabel(labels[panel])
            ax.set_ylabel("distance of the subspaces of W and L")
        highest = max([0.2] + [d for p in info.points if p.panel == "b" for d in p.distances])
        axes[0, 0].set(xlim=(-0.05, 1.05), ylim=(0, 1.05))
        axes[0, 1].set(xlim=(-1.5, max([40.0] + [p.tau for p in info.points if p.panel == "b"]) * 1.04))
        axes[0, 1].set_ylim(0, 1.12 * highest)
        if len(gradients) > 1:
            marks = [layout.mark(_GRADIENT.get(g, g), "o", color=_colour(g), linestyle="-") for g in gradients]
            layout.key(figure, marks)
    return figure


def _series(ax: Axes, points: list[Point], gradient: str, shift: float) -> None:
    """Draws mean, interval and runs of one target gradient, shifted to the side of the other's."""
    colour = _colour(gradient)
    at = [p.at + shift for p in points]
    x = [p.at + shift for p in points for _ in p.distances]
    y = [d for p in points for d in p.distances]
    ax.plot(x, y, "o", color=colour, markersize=3, alpha=0.3, markeredgewidth=0)
    means = np.array([p.mean for p in points], dtype=float)
    ax.plot(at, means, color=colour, linewidth=1.4)
    low, high = (np.array([getattr(p, name) for p in points], dtype=float) for name in ("low", "high"))
    ax.vlines(at, low, high, color=colour)  # draws nothing where there is no interval
    ax.plot(at, means, "o", color=colour, markersize=4.5, markeredgecolor="white")
    centred = [(p.at + shift, float(np.mean(p.centred))) for p in points if p.centred]
    ax.plot(*zip(*centred, strict=True) if centred else ([], []), "D", color=colour, markersize=4, fillstyle="none")


def _paper_readings(ax: Axes, panel: str) -> None:
    """Draws the paper's readings: a bracket at a point, a band where a reading is for the whole panel."""
    for reading in paper.FIGURE_1:
        if reading.panel != panel:
            continue
        at, text = (reading.beta if panel == "a" else reading.tau), f"paper, {reading.source}"
        if at is None:
            ax.axhspan(reading.low, reading.high, color="#ededed", zorder=0)
            ax.annotate(
                f"{text}: {reading.low:.2f} to {reading.high:.2f}", (1, reading.high), (-3, -3), ha="right", va="top",
                xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=style.SMALL, color=style.GREY,
            )  # fmt: skip
            continue
        middle, half = (reading.low + reading.high) / 2, max((reading.high - reading.low) / 2, 0.012)
        ax.errorbar([at], [middle], yerr=[half], fmt="none", ecolor=style.INK, elinewidth=11, alpha=0.3, zorder=1)
        far = at > 0.5  # words go where there is room: the curve comes down from the left
        ax.annotate(
            text, (at, middle), (-11 if far else 11, 0 if far else -4), textcoords="offset points",
            ha="right" if far else "left", va="center", fontsize=style.SMALL, color=style.GREY,
        )  # fmt: skip


def _floor(ax: Axes) -> None:
    ax.axhline(FLOOR, color=style.GREY, linewidth=0.8, linestyle="--", zorder=1)
    ax.annotate(
        f"1/sqrt({FIGURE1.hidden_size}) = {FLOOR:.3f}", (1, FLOOR), (-3, -3), ha="right", va="top",
        xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=style.SMALL, color=style.GREY,
    )  # fmt: skip


def _colour(gradient: str) -> str:
    order = sorted(TARGET_GRADIENTS, key=_rank)
    return style.OURS[order.index(gradient) % len(style.OURS)] if gradient in order else style.INK


def _note(points: list[Point]) -> str:
    counts = [len(p.distances) for p in points if p.distances]
    if not counts:
        text = "no complete run"
    else:
        sure = any(p.low is not None for p in points)
        text = (
            f"mean of {span(counts, 'run')} of {span((e for p in points for e in p.last_epochs), 'epoch')}, a dot each"
        )
        text += f"; {CONFIDENCE:.0%} t-interval" if sure else ""
    missing = [
        f"{number} {word}"
        for name, word in (("num_unfinished", "unfinished"), ("num_failed", "failed"))
        if (number := sum(getattr(p, name) for p in points))
    ]
    extra = [f"not drawn: {', '.join(missing)}"] if missing else []
    several = len({p.target_gradient for p in points}) > 1
    for point in points:
        if point.other_setting:
            extra.append((f"{point.target_gradient}: " if several else "") + point.other_setting)
    extra = list(dict.fromkeys(extra))
    return "\n".join([text, *(["; ".join(extra)] if extra else [])])


@register(
    "figure1",
    title="Figure 1: distance between the subspaces of W and L",
    caption=(
        "Section 6.2: trained with beta of the augmented loss (eq. 6.1) and no regularisation, the output projection W "
        "moves into the subspace of the input embedding L. The distance of appendix B after the last epoch of each "
        f"complete run: mean, {CONFIDENCE:.0%} t-interval of the mean, and a dot per run. Dashed in b: 1/sqrt("
        f"{FIGURE1.hidden_size}) = {FLOOR:.3f}, about as far as the augmented loss can bring it. A softmax does not "
        "change when one number is added to all its scores, so neither J_aug nor its gradient changes when one row "
        f"c is added to every row of W. That one of W's {FIGURE1.hidden_size} directions keeps its random start: at "
        f"best W = L B + 1 c^T, which lies 1/sqrt({FIGURE1.hidden_size}) from L, the paper's 0.06. Diamonds: the mean "
        "distance of the same matrices with each column's mean over the vocabulary taken off, which removes that "
        "direction and can come to 0. Grey: what the paper's text "
        f"and axes state (means of {paper.FIGURE_1_RUNS} runs); its curves are not read off."
    ),
    draw=draw_subspace,
    section="paper",
    needs="section 6.2's experiment has no complete run yet: python -m study.reproduce figure1",
)
def subspace_distances(results: Results) -> SubspaceInfo:
    """The runs of section 6.2 by setting, of one study per target gradient."""
    points = []
    for gradient in sorted(results.subspace["target_gradient"].dropna().unique()):
        own = last_epochs(results, gradient)
        for panel, chosen, place in (
            ("a", own[np.isclose(own["tau"], FIGURE1.tau)], "beta"),
            ("b", own[np.isclose(own["beta"], PANEL_B_BETA)], "tau"),
        ):
            points += [_point(panel, gradient, trials) for _, trials in chosen.groupby(place, sort=True)]
    return SubspaceInfo(points=tuple(sorted(points, key=lambda p: (p.panel, _rank(p.target_gradient), p.at))))


def _rank(gradient: str) -> tuple[bool, str]:
    """Section 6.2's choice comes first."""
    return gradient != FIGURE1.target_gradient, gradient


def _point(panel: str, gradient: str, runs: pd.DataFrame) -> Point:
    complete = runs[runs["done"]].sort_values(["seed", "trial_id"])
    distances = tuple(float(d) for d in complete["subspace_distance"])
    mean, _, low, high, _ = t_interval(distances) if distances else (None,) * 5
    later = (complete[name].astype(float) for name in ("centred_distance", "explained_share"))
    centred, explained = (tuple(values) if values.notna().all() else () for values in later)
    return Point(
        panel=panel, target_gradient=gradient, beta=float(runs["beta"].iloc[0]), tau=float(runs["tau"].iloc[0]),
        distances=distances, mean=mean, low=low, high=high, centred=centred, explained=explained,
        num_failed=int(runs["failed"].sum()),
        num_unfinished=int((~runs["done"] & ~runs["failed"]).sum()), study=str(runs["study"].iloc[0]),
        last_epochs=tuple(int(e) for e in complete["epoch"]), other_setting="; ".join(other_setting(runs)),
        trial_ids=tuple(complete["trial_id"]),
    )  # fmt: skip
