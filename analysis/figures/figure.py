"""A figure: a data function and a draw function, joined by ``register``.

The data function turns ``Results`` into an info object: plain data, which a test can compare. The draw function takes
that object alone. ``parts`` splits the info of a large figure into several pictures.

``analysis.figures`` imports every module that registers one: take ``drawings`` from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.records.load import Results

Section = Literal["paper", "study"]


class Info(Protocol):
    """The plain data of a figure."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""

    def frame(self) -> pd.DataFrame:
        """The figure's numbers, with the trials behind them."""


class Part(NamedTuple):
    """One picture of a figure that has several."""

    suffix: str
    """Added to the figure's name: lower case, digits and hyphens."""
    title: str
    """Added to the figure's title, for instance ``PTB, small``."""
    info: Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A registered figure."""

    name: str
    title: str
    caption: str
    section: Section
    """``paper``: a figure of the paper; ``study``: a view of the studies themselves."""
    data: Callable[[Results], Any]
    """Results -> Info."""
    draw: Callable[[Any], Canvas]
    """Info -> figure of matplotlib."""
    needs: str = "no records to draw it from yet"
    """Text shown if there is nothing to draw."""
    parts: Callable[[Any], Iterable[Part]] | None = None
    """Info -> its pictures; None where the figure is one picture."""


@dataclass(frozen=True)
class Drawing:
    """One picture of the report, drawn."""

    name: str
    """Stem of its files."""
    title: str
    caption: str
    section: Section
    info: Info
    figure: Canvas


FIGURES: dict[str, Figure] = {}


def register(
    name: str,
    *,
    title: str,
    caption: str,
    draw: Callable[[Any], Canvas],
    section: Section = "study",
    needs: str = Figure.needs,
    parts: Callable[[Any], Iterable[Part]] | None = None,
) -> Callable[[Callable[[Results], Any]], Callable[[Results], Any]]:
    """Decorator of a data function: adds it and its draw function to ``FIGURES`` under ``name``."""

    def add(data: Callable[[Results], Any]) -> Callable[[Results], Any]:
        if name in FIGURES:
            raise ValueError(f"a figure's name must be new, got {name!r} twice")
        FIGURES[name] = Figure(
            name=name, title=title, caption=caption, section=section, data=data, draw=draw, needs=needs, parts=parts
        )
        return data

    return add


def drawings(results: Results, *, only: Collection[str] | None = None) -> Iterator[Drawing]:
    """Draws all figures that have something to show, in the registry's order, a part at a time.

    Args:
        results: the records.
        only: names of figures; all by default.

    Raises:
        ValueError: if there is no figure of a name in ``only``.
    """
    for name in only or ():
        if name not in FIGURES:
            raise ValueError(f"a figure must be one of {', '.join(FIGURES)}, got {name!r}")
    for figure in (figure for name, figure in FIGURES.items() if only is None or name in only):
        info = figure.data(results)
        if info.is_empty:
            continue
        parts = figure.parts(info) if figure.parts else (Part("", "", info),)
        for part in parts:
            yield Drawing(
                name="_".join(filter(None, (figure.name, part.suffix))),
                title=": ".join(filter(None, (figure.title, part.title))),
                caption=figure.caption,
                section=figure.section,
                info=part.info,
                figure=figure.draw(part.info),
            )
