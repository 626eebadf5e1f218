"""Layout of panels, titles, keys and labels.

Figures are ``WIDTH`` inches wide, so that their letters have one size on a page, and their panels form a grid with
margins in inches: matplotlib's automatic layouts take longer than all the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import GREY, GRID, SMALL, colour, dash, marker
from analysis.records.names import variant_label
from trainables.recipes import VARIANTS

WIDTH = 9.0
STEPS = (1, 2, 2.5, 5, 10)  # between ticks, up to powers of ten


def grid(
    num_rows: int,
    num_columns: int,
    *,
    height: float = 2.2,
    width: float = WIDTH,
    left: float = 0.65,
    right: float = 0.15,
    top: float = 0.75,
    bottom: float = 0.5,
    between: tuple[float, float] = (0.62, 0.85),
    width_ratios: Sequence[float] | None = None,
) -> tuple[Figure, np.ndarray]:
    """A figure with rows x columns of panels (an array of axes). Lengths in inches.

    Args:
        height: of a panel.
        width: of the whole figure.
        left: margin; likewise ``right``, ``top`` and ``bottom``.
        between: the gaps between columns and between rows.
        width_ratios: of the columns.
    """
    total = top + bottom + num_rows * height + (num_rows - 1) * between[1]
    panel = (width - left - right - (num_columns - 1) * between[0]) / num_columns
    figure = Figure(figsize=(width, total))
    axes = figure.subplots(
        num_rows, num_columns, squeeze=False,
        gridspec_kw={
            "left": left / width, "right": 1 - right / width, "bottom": bottom / total, "top": 1 - top / total,
            "wspace": between[0] / panel, "hspace": between[1] / height, "width_ratios": width_ratios,
        },
    )  # fmt: skip
    for ax in axes.flat:
        box = ax.get_position()
        ax.xaxis.set_label_coords(0.5, -0.28 / (box.height * total))
        ax.yaxis.set_label_coords(-0.44 / (box.width * width), 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    return figure, axes


def head(ax: Axes, title: str, note: str = "") -> None:
    """Writes a panel's title and, below it in small grey letters, a note.

    A note may have two lines; panels with such need 0.15 inches more above them.
    """
    ax.set_title(title, pad=5 + 10.5 * (note.count("\n") + 1) if note else 5)
    if note:
        figure = ax.get_figure(root=True)
        assert figure is not None, "a panel stands in a figure"
        inches = ax.get_position().height * figure.get_size_inches()[1]
        ax.text(0, 1 + 4 / 72 / inches, note, transform=ax.transAxes, fontsize=SMALL, color=GREY)


def share_y(first: Axes, others: Iterable[Axes]) -> None:
    """Gives other panels of a row the vertical limits and grid lines of the first, without ticks.

    Set the first panel's limits before. Ticks take most of the time of drawing a panel.
    """
    low, high = first.get_ylim()
    ticks = [tick for tick in first.get_yticks() if low <= tick <= high]
    for ax in others:
        ax.set_yscale(first.get_yscale())
        ax.set_ylim(low, high)
        ax.yaxis.set_visible(False)
        ax.hlines(ticks, 0, 1, transform=ax.get_yaxis_transform(), color=GRID, linewidth=0.7, zorder=0.5)


def remove_unused(axes: np.ndarray, num_used: int) -> None:
    """Removes the panels after the first ``num_used``."""
    for ax in axes.flat[num_used:]:
        ax.remove()


def variant_handles(variants: Iterable[str], *, lines: bool = True) -> list[Line2D]:
    """Entries of the key for these variants, in the registry's order."""
    shown = set(variants)
    names = [*(name for name in VARIANTS if name in shown), *sorted(shown - set(VARIANTS))]
    if not lines:
        return [mark(variant_label(name), marker(name), color=colour(name), markersize=5) for name in names]
    return [Line2D([], [], color=colour(name), label=variant_label(name), linestyle=dash(name)) for name in names]


def mark(text: str, marker: str, **look: Any) -> Line2D:
    """Entry of the key for a grey mark."""
    found: dict[str, Any] = {"color": GREY, "linestyle": "", "markersize": 4.5, "marker": marker, "label": text}
    return Line2D([], [], **found | look)


def key(figure: Figure, handles: Sequence[Artist], *, columns: int = 6) -> None:
    """Adds the figure's key in its top margin."""
    if handles:
        width, height = figure.get_size_inches()
        figure.legend(
            handles=list(handles), loc="upper left", bbox_to_anchor=(0.1 / width, 1 - 0.08 / height),
            ncols=min(columns, len(handles)), columnspacing=1.6, handletextpad=0.6,
        )  # fmt: skip


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Moves values apart until neighbours are ``gap`` or more from each other, for labels.

    The order is kept, and a cluster stays centred on its mean.
    """
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    clusters: list[list[int]] = []
    centre: list[float] = []
    for i in order:
        clusters.append([i])
        centre.append(values[i])
        while len(clusters) > 1:
            reach = gap * (len(clusters[-2]) + len(clusters[-1])) / 2
            if centre[-1] - centre[-2] >= reach - 1e-12:
                break
            members = clusters.pop()
            centre.pop()
            clusters[-1] += members
            centre[-1] = sum(values[j] for j in clusters[-1]) / len(clusters[-1])
    places = list(values)
    for members, middle in zip(clusters, centre, strict=True):
        for rank, i in enumerate(members):
            places[i] = middle + gap * (rank - (len(members) - 1) / 2)
    return places


def label_ends(figure: Figure, ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes (y, text, colour) to the right of a panel at height y, moved apart where they would overlap.

    Set the panel's limits before.
    """
    low, high = ax.get_ylim()
    width, height = ax.get_position().size * figure.get_size_inches()
    places = spread([(y - low) / (high - low) for y, _, _ in ends], 1.25 * 8 / 72 / height)
    for place, (_, text, ink) in zip(places, ends, strict=True):
        ax.text(1 + 4 / 72 / width, place, text, transform=ax.transAxes, va="center", fontsize=8, color=ink)
