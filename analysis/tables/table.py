"""What a table is: numbers for the CSV, views of them for people, and the trials behind each number.

``register`` puts a function that makes a table into ``TABLES``; the report takes it from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from analysis.records.load import Results

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a view."""

    title: str
    """Lines are separated by newlines."""
    text: Callable[[Values], str]
    """Makes the cell's text from the row's values."""
    left: bool = False
    """Aligned to the left: names. Numbers stand to the right."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table."""

    name: str
    """Names the row in the file of trial ids."""
    data: Values
    """Column of the CSV -> value."""
    section: str = ""
    """Heading that the row stands under."""
    note: str = ""
    """What the reader must know of this row; equal notes are printed once."""
    dim: bool = False
    """Nothing was run: the row recedes where the view can do so."""


class Source(NamedTuple):
    """The trials behind one number."""

    row: str
    column: str
    study: str
    trial_ids: str
    """Separated by spaces."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, complete but for its drawing."""

    name: str
    title: str
    caption: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    """The view of the Markdown file."""
    narrow: tuple[Column, ...]
    """The view of the terminal, at most 100 characters wide."""
    sources: tuple[Source, ...]
    section_title: str = "Network"
    """What a section's heading names."""

    def frame(self) -> pd.DataFrame:
        """The values as a frame, a column of notes last."""
        rows = [{"row": row.name, **row.data, "notes": row.note} for row in self.rows]
        return pd.DataFrame(rows, dtype=object)  # a whole number stays one beside a missing value

    def provenance(self) -> pd.DataFrame:
        """The trial ids behind each number, a row per number."""
        frame = pd.DataFrame(self.sources, columns=list(Source._fields))
        frame.insert(0, "table", self.name)
        return frame

    def numbered_notes(self) -> dict[str, int]:
        """Each distinct note of a row and its number, in the order of the rows."""
        notes = dict.fromkeys(row.note for row in self.rows if row.note)
        return {note: i for i, note in enumerate(notes, start=1)}


TABLES: dict[str, Callable[[Results], Table]] = {}
"""Name -> what makes the table from the records."""


def register(name: str) -> Callable[[Callable[[Results], Table]], Callable[[Results], Table]]:
    """Decorator: adds the function to ``TABLES`` under ``name``."""

    def add(make: Callable[[Results], Table]) -> Callable[[Results], Table]:
        if name in TABLES:
            raise ValueError(f"a table's name must be new, got {name!r} twice")
        TABLES[name] = make
        return make

    return add


def plain(key: str, *, missing: str = "") -> Callable[[Values], str]:
    """The value itself, ``missing`` where there is none."""
    return lambda values: missing if is_missing(values.get(key)) else str(values[key])


def number(key: str, form: str = ".1f", *, missing: str = "") -> Callable[[Values], str]:
    """The value formatted, ``missing`` where there is none."""
    return lambda values: missing if is_missing(values.get(key)) else format(values[key], form)


def interval(key: str, form: str = ".1f", *, missing: str = "") -> Callable[[Values], str]:
    """The value and in brackets its interval ``KEY_low`` to ``KEY_high``, where there is one."""

    def text(values: Values) -> str:
        value, low, high = (values.get(key + end) for end in ("", "_low", "_high"))
        if is_missing(value):
            return missing
        return format(value, form) + ("" if is_missing(low) else f" ({low:{form}} to {high:{form}})")

    return text


def p_value(key: str) -> Callable[[Values], str]:
    """A p-value to three decimals, nothing where there is none."""

    def text(values: Values) -> str:
        value = values.get(key)
        return "" if is_missing(value) else "<0.001" if value < 0.0005 else f"{value:.3f}"  # type: ignore[operator]

    return text


def yes_no(key: str, *, missing: str = "") -> Callable[[Values], str]:
    """``yes`` or ``no``, ``missing`` where that is not known."""
    return lambda values: missing if is_missing(values.get(key)) else "yes" if values[key] else "no"


def is_missing(value: object) -> bool:
    """None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
