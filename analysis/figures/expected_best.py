"""The expected best of n random draws, by draws and by device-hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch
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
from analysis.measures.best_of_n import expected_best_frame, random_block
from analysis.records.load import Results
from analysis.records.names import place_title
from analysis.records.studies import SettingStudy
from analysis.stats.intervals import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class ExpectedBest(OfStudy):
    """The random block of one study; all perplexities are for n = 1, 2, ... draws."""

    trial_ids: tuple[str, ...]
    device_h: tuple[float, ...]
    """n times the mean of a trial."""
    u_ppl: tuple[float, ...]
    """Unbiased (Tang et al., 2020)."""
    v_ppl: tuple[float, ...]
    """With replacement (Dodge et al., 2019)."""
    median_low: tuple[float | None, ...]
    median_high: tuple[float | None, ...]
    """Bounds of the median of the best of n; None where the sample cannot carry them."""
    losses: tuple[float, ...]
    num_diverged: int
    num_left_out: int


@dataclass(frozen=True, kw_only=True)
class ExpectedBestInfo(StudiesInfo[ExpectedBest]):
    """The random blocks."""

    def frame(self) -> pd.DataFrame:
        """A row per block and number of draws."""
        return pd.DataFrame(
            [
                {
                    **b.setting._asdict(), "n": i + 1, "device_h": b.device_h[i], "u_ppl": b.u_ppl[i],
                    "v_ppl": b.v_ppl[i], "median_low": b.median_low[i], "median_high": b.median_high[i],
                    "num_diverged": b.num_diverged, "study": b.study, "trial_ids": b.trial_ids,
                }
                for b in self.studies
                for i in range(len(b.u_ppl))
            ]
        )  # fmt: skip


def draw_expected_best(info: ExpectedBestInfo) -> Canvas:
    """Two panels per corpus and size: by draws and by device-hours."""
    groups = by_group(info.studies)
    with style.style():
        figure, axes = layout.grid(len(groups), 2, height=2.4, right=1.0, between=(0.35, 1.0))
        for row, (corpus, size, blocks) in zip(axes, groups, strict=True):
            low, high = _limits(blocks)
            unit, seconds = time_unit(3600.0 * max(b.device_h[-1] for b in blocks))
            per_h = 3600.0 / seconds
            for block in blocks:
                numbers = tuple(float(n) for n in range(1, len(block.u_ppl) + 1))
                for ax, x in zip(row, (numbers, tuple(h * per_h for h in block.device_h)), strict=True):
                    _curve(ax, x, block)
            layout.head(row[0], place_title(corpus, size), _note(blocks))
            row[0].set_xlabel("random draws")
            row[0].xaxis.set_major_locator(MaxNLocator(5, steps=layout.STEPS, integer=True))
            row[1].set_xlabel(f"device-{unit}")
            row[0].set_ylabel("expected best validation ppl")
            for ax in row:
                ax.set_xlim(left=0)
            row[0].set_ylim(low, high)
            layout.share_y(row[0], row[1:])
            ends = [(b.u_ppl[-1], f"{style.short_label(b.setting.variant)} {b.u_ppl[-1]:.1f}", b) for b in blocks]
            layout.label_ends(figure, row[1], [(y, text, style.colour(b.setting.variant)) for y, text, b in ends])
        handles: list[Artist] = [*layout.variant_handles(b.setting.variant for b in info.studies)]
        handles.append(Patch(color=style.GREY, alpha=0.2, linewidth=0, label=f"{CONFIDENCE:.0%} bounds of the median"))
        layout.key(figure, handles, columns=6)
    return figure


def _curve(ax: Axes, x: tuple[float, ...], block: ExpectedBest) -> None:
    colour, dash = style.colour(block.setting.variant), style.dash(block.setting.variant)
    marker = "o" if len(x) == 1 else ""
    ax.plot(x, block.v_ppl, color=colour, linewidth=0.7, alpha=0.5)
    ax.plot(x, block.u_ppl, color=colour, linestyle=dash, marker=marker, markersize=4)
    low, high = (np.array(ends, dtype=float) for ends in (block.median_low, block.median_high))
    ax.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)  # nothing where there are no bounds


def _limits(blocks: list[ExpectedBest]) -> tuple[float, float]:
    """Cuts off the first two draws, which lie far above the rest in a wide space."""
    low = min(v for b in blocks for v in (b.u_ppl[-1], *b.median_low) if v is not None)
    early = max(b.u_ppl[min(2, len(b.u_ppl) - 1)] for b in blocks)
    worst = max(b.u_ppl[-1] for b in blocks)
    high = max(early, worst, 1.02 * low)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _note(blocks: list[ExpectedBest]) -> str:
    diverged, left_out = (sum(getattr(b, name) for b in blocks) for name in ("num_diverged", "num_left_out"))
    each = span((len(b.losses) for b in blocks), "draw")
    return f"{each} each" + counted(diverged, "diverged") + counted(left_out, "left out")


@register(
    "expected_best",
    title="Expected best of n random draws",
    caption=(
        "What a random search of n trials would be expected to find, from the random block alone, whose trials are "
        "independent draws at full length. Line: the unbiased estimate (Tang et al., 2020); thin line: with "
        "replacement (Dodge et al., 2019). Band: exact order-statistic bounds of the median of the best of n, as far "
        "as the sample carries them (n up to a fifth of the draws). By device-hours n draws cost n times the mean "
        "trial. A trial that diverged counts as the uniform distribution. The first draws are cut off."
    ),
    draw=draw_expected_best,
    parts=parts_by_corpus,
    needs="no trial of a random block has ended yet",
)
def expected_best_curves(results: Results) -> ExpectedBestInfo:
    """Every study with a random draw that has ended."""
    blocks = (_block(study) for study in studies(results))
    return ExpectedBestInfo(studies=tuple(block for block in blocks if block is not None))


def _block(study: SettingStudy) -> ExpectedBest | None:
    block = random_block(study)
    if not block.trial_ids:
        return None
    frame = expected_best_frame(block)
    return ExpectedBest(
        setting=study.setting,
        study=study.study,
        trial_ids=block.trial_ids,
        losses=tuple(block.losses.tolist()),
        num_diverged=block.num_diverged,
        num_left_out=block.num_left_out,
        device_h=tuple(frame["device_h"].tolist()),
        u_ppl=tuple(frame["u_ppl"].tolist()),
        v_ppl=tuple(frame["v_ppl"].tolist()),
        median_low=optional(frame["median_low"]),
        median_high=optional(frame["median_high"]),
    )
