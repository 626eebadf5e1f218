"""Style of all figures: a variant has one colour, one dash and one marker everywhere."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")  # files only: a report is made where there is no screen

import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from analysis.records.names import variant_label
from trainables.recipes import VARIANTS

# Okabe and Ito's palette, told apart with any common colour blindness; its yellow is too pale for a line on white.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))  # told apart in black and white too
_MARKERS = ("o", "s", "^", "D")
INK, GREY, GRID = "#1a1a1a", "#666666", "#e8e8e8"
ACCENT = "#D55E00"
OURS = ("#0072B2", "#D55E00")
"""Colours of series that are no variants."""
PERPLEXITY_COLOURS = "viridis"
"""Colour map of perplexities: the lower (better), the darker."""
SMALL = 7.5
"""Size of the letters of notes."""
BEHIND_TEXT: dict[str, Any] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.0}
"""Box behind words inside a panel, where lines may pass."""

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": 100, "savefig.dpi": 144, "figure.facecolor": "white",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # a long list is searched for each word
    "font.size": 9, "axes.titley": 1.0, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#8c8c8c", "axes.linewidth": 0.8,
    "xtick.color": "#8c8c8c", "ytick.color": "#8c8c8c", "xtick.labelcolor": "#333333", "ytick.labelcolor": "#333333",
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.7,
    "lines.linewidth": 1.7, "legend.frameon": False, "legend.borderaxespad": 0.0, "legend.handlelength": 2.0,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none", "svg.hashsalt": "figure",  # text stays text, and the same figure gives the same bytes
}  # fmt: skip


def colour(variant: str) -> str:
    """The variant's colour; variants added later take the next ones of the palette."""
    return _COLOURS[_position(variant) % len(_COLOURS)]


def dash(variant: str) -> Any:
    """The variant's dash pattern, as matplotlib takes it."""
    return _DASHES[_position(variant) % len(_DASHES)]


def marker(variant: str) -> str:
    """The variant's marker."""
    return _MARKERS[_position(variant) % len(_MARKERS)]


def short_label(variant: str) -> str:
    """The variant's name for narrow places: what it adds to the baseline, ``+AL``; the baseline's in full."""
    name, base = variant_label(variant), VARIANTS["baseline"].label
    return name.removeprefix(base) or base


def _position(variant: str) -> int:
    names = list(VARIANTS)
    return names.index(variant) if variant in names else len(names)


@contextmanager
def style() -> Iterator[None]:
    """Applies the report's style, and stops garbage collection, which takes a tenth of the time of drawing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        with matplotlib.rc_context(_SETTINGS):
            yield
    finally:
        if collecting:
            gc.enable()


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes ``NAME.png``, in 256 colours, and ``NAME.svg``; no date goes into them."""
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with style():
        _to_palette(figure).save(paths[0], optimize=False, compress_level=6)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _to_palette(figure: Figure) -> Image.Image:
    """The figure in its 256 most useful colours: a third of the bytes, and less time than full colour takes."""
    raw = io.BytesIO()
    figure.savefig(raw, format="rgba")
    width = int(figure.get_size_inches()[0] * _SETTINGS["savefig.dpi"])
    size = (width, len(raw.getvalue()) // (4 * width))
    image = Image.frombytes("RGBA", size, raw.getvalue()).convert("RGB")
    image = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette, white = image.getpalette() or [], image.getpixel((0, 0))
    assert isinstance(white, int), "a palette's pixel is a number"
    palette[3 * white : 3 * white + 3] = [255, 255, 255]  # the octree's setting of white lies a little below it
    image.putpalette(palette)
    return image
