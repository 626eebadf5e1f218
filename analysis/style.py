"""How every figure of the report looks. A variant has one colour and one dash everywhere."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")  # files only: a report is made where there is no screen

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from trainables.recipes import VARIANTS

# Okabe and Ito's palette, told apart with any common colour blindness; its yellow is too pale for a line on white.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))  # told apart in black and white too
GREY = "#666666"

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": 100, "savefig.dpi": 160, "savefig.bbox": "tight", "figure.facecolor": "white",
    "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "lines.linewidth": 1.8, "legend.frameon": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none", "svg.hashsalt": "figure",  # text stays text, and the same figure gives the same bytes
}  # fmt: skip


def colour(variant: str) -> str:
    """The variant's colour; variants added later take the next ones of the palette."""
    return _COLOURS[_position(variant) % len(_COLOURS)]


def dash(variant: str) -> Any:
    """The variant's dash pattern, as matplotlib takes it."""
    return _DASHES[_position(variant) % len(_DASHES)]


def _position(variant: str) -> int:
    names = list(VARIANTS)
    return names.index(variant) if variant in names else len(names)


@contextmanager
def style() -> Iterator[None]:
    """Within it, figures are drawn in the report's style."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes ``NAME.png`` and ``NAME.svg``; no date goes into them."""
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with style():
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths
