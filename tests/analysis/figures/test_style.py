"""The look that all figures share."""

from __future__ import annotations

import gc
from pathlib import Path

from PIL import Image

from analysis.figures import layout, style
from trainables.recipes import VARIANTS


def test_each_variant_has_its_own_colour_dash_and_marker() -> None:
    for look in (style.colour, style.dash, style.marker):
        assert len({str(look(name)) for name in VARIANTS}) == len(VARIANTS)
    assert style.colour("unheard of") not in {style.colour(name) for name in VARIANTS}


def test_labels() -> None:
    assert [style.short_label(name) for name in VARIANTS] == ["VD-LSTM", "+AL", "+RE", "+REAL"]
    assert style.short_label("unheard of") == "unheard of"


def test_saved_on_pure_white_with_text_as_text(tmp_path: Path) -> None:
    with style.style():
        assert not gc.isenabled()
        figure, axes = layout.grid(1, 1)
        layout.head(axes[0, 0], "a title", "a note")
        layout.label_ends(figure, axes[0, 0], [(0.5, "one", "red"), (0.5, "two", "blue")])
        layout.key(figure, layout.variant_handles(["real"]))
    assert gc.isenabled()
    paths = style.save(figure, tmp_path, "some")
    assert [path.name for path in paths] == ["some.png", "some.svg"]
    with Image.open(paths[0]) as image:
        assert image.size[0] == 9 * 144
        counts = dict(map(reversed, image.convert("RGB").getcolors() or []))
    assert max(counts, key=lambda colour: counts[colour]) == (255, 255, 255)
    svg = paths[1].read_text(encoding="utf-8")
    assert all(f">{text}<" in svg for text in ("a title", "a note", "one", "two", "VD-LSTM+REAL"))
