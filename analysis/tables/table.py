"""A table: values for the CSV, columns that format them, and the trials behind each measured value.

``register`` adds a function that makes a table to ``TABLES``, from which the report takes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from analysis.records.load import Results
from analysis.records.sources import TrialKey, by_study
from analysis.stats.intervals import LogRatio, MeanPerplexity


@dataclass(frozen=True)
class Measured:
    """A measured value and the trials that it rests on."""

    value: Any = None
    """None where nothing was measured."""
    trials: tuple[TrialKey, ...] = ()


@dataclass(frozen=True)
class Interval(Measured):
    """A measured value with the ends of its interval; the CSV has them in columns of their own."""

    low: float | None = None
    high: float | None = None


def ratio(found: LogRatio | None, trials: tuple[TrialKey, ...]) -> Interval:
    """Makes the value of a ratio of perplexities, missing where there is none."""
    return Interval(found.ratio, trials, found.ratio_low, found.ratio_high) if found else Interval()


def mean(found: MeanPerplexity | None, trials: tuple[TrialKey, ...]) -> Interval:
    """Makes the value of a mean perplexity, missing where there is none."""
    return Interval(found.mean, trials, found.low, found.high) if found else Interval()


Values = Mapping[str, Any]
"""Column of the CSV -> value: ``Measured`` if it rests on trials, itself if the paper or a configuration gives it."""


class Cell(NamedTuple):
    """The text that a column shows of a row, and its trials."""

    text: str
    trials: tuple[TrialKey, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a view."""

    title: str
    """Lines are separated by newlines."""
    cell: Callable[[Values], Cell]
    """Values of a row -> the cell."""
    left: bool = False
    """Aligned to the left (names) instead of to the right (numbers)."""

    def text(self, values: Values) -> str:
        """The cell's text alone."""
        return self.cell(values).text


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table."""

    name: str
    """Names the row in the file of trial ids."""
    data: Values
    section: str = ""
    """Heading that the row stands under."""
    notes: tuple[str, ...] = ()
    """Remarks on the row, a phrase each."""
    dim: bool = False
    """Shown in grey where possible: nothing was run."""
    parts: tuple[Row, ...] = ()
    """Rows that this row sums up; they appear in the file of trial ids alone."""

    @property
    def note(self) -> str:
        """The notes as one line; equal lines of a table are printed once."""
        return joined(self.notes)

    def values(self) -> dict[str, Any]:
        """Column of the CSV -> plain value; the ends of the interval ``X`` are ``X_low`` and ``X_high``."""
        found: dict[str, Any] = {}
        for key, value in self.data.items():
            found[key] = value_of(value)
            if isinstance(value, Interval):
                found |= {f"{key}_low": value.low, f"{key}_high": value.high}
        return found


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the report."""

    name: str
    title: str
    caption: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    """The view of the Markdown file."""
    narrow: tuple[Column, ...]
    """The view of the terminal, at most 100 characters wide."""

    def frame(self) -> pd.DataFrame:
        """The values as a frame, a column of notes last."""
        rows = [{"row": row.name, **row.values(), "notes": row.note} for row in self.rows]
        return pd.DataFrame(rows, dtype=object)  # a whole number stays one beside a missing value

    def provenance(self) -> pd.DataFrame:
        """The trial ids behind each measured value, a row per value and study."""
        rows = [
            (self.name, part.name, column, study, ids)
            for _, part, column, value in self._measured()
            for study, ids in by_study(value.trials).items()
        ]
        return pd.DataFrame(rows, columns=["table", "row", "column", "study", "trial_ids"])

    def _measured(self) -> Iterator[tuple[Row, Row, str, Measured]]:
        """Yields (row, the row itself or a part of it, column, value) of every measured value."""
        for row in self.rows:
            for part in (row, *row.parts):
                for column, value in part.data.items():
                    if isinstance(value, Measured):
                        yield row, part, column, value

    def empty_sections(self) -> tuple[str, ...]:
        """Returns the sections of dim rows whose values rest on no trial; none if that holds for every section."""
        sections = dict.fromkeys(row.section for row in self.rows)
        shown = {row.section for row in self.rows if not row.dim}
        shown |= {row.section for row, _, _, value in self._measured() if value.trials}
        empty = tuple(section for section in sections if section and section not in shown)
        return empty if len(empty) < len(sections) else ()

    def numbered_notes(self) -> dict[str, int]:
        """Each distinct note of a row and its number, in the order of the rows."""
        notes = dict.fromkeys(row.note for row in self.rows if row.note)
        return {note: i for i, note in enumerate(notes, start=1)}


TABLES: dict[str, Callable[[Results], Table]] = {}
"""Name -> function that makes the table from the records."""


def register(name: str) -> Callable[[Callable[[Results], Table]], Callable[[Results], Table]]:
    """Decorator: adds the function to ``TABLES`` under ``name``."""

    def add(make: Callable[[Results], Table]) -> Callable[[Results], Table]:
        if name in TABLES:
            raise ValueError(f"a table's name must be new, got {name!r} twice")
        TABLES[name] = make
        return make

    return add


def plain(key: str, *, missing: str = "") -> Callable[[Values], Cell]:
    """Shows the value itself, ``missing`` where there is none."""
    return lambda values: cell(values[key], str, missing=missing)


def number(key: str, form: str = ".1f", *, missing: str = "") -> Callable[[Values], Cell]:
    """Shows the value formatted, ``missing`` where there is none."""
    return lambda values: cell(values[key], lambda value: format(value, form), missing=missing)


def interval(key: str, form: str = ".1f", *, missing: str = "") -> Callable[[Values], Cell]:
    """Shows the value and in brackets its interval, where there is one."""

    def found(values: Values) -> Cell:
        value: Interval = values[key]
        ends = "" if is_missing(value.low) else f" ({value.low:{form}} to {value.high:{form}})"
        return cell(value, lambda number: f"{number:{form}}{ends}", missing=missing)

    return found


def p_value(key: str) -> Callable[[Values], Cell]:
    """Shows a p-value to three decimals, nothing where there is none."""
    return lambda values: cell(values[key], lambda p: "<0.001" if p < 0.0005 else f"{p:.3f}")


def yes_no(key: str) -> Callable[[Values], Cell]:
    """Shows ``yes`` or ``no``, nothing where that is not known."""
    return lambda values: cell(values[key], lambda value: "yes" if value else "no")


def cell(held: Any, text: Callable[[Any], str], *, missing: str = "") -> Cell:
    """The cell of one value of a row: its text and its trials; ``missing`` and no trials where there is none."""
    value, trials = value_of(held), held.trials if isinstance(held, Measured) else ()
    return Cell(missing) if is_missing(value) else Cell(text(value), trials)


def value_of(held: Any) -> Any:
    """A value of a row without its trials."""
    return held.value if isinstance(held, Measured) else held


def joined(phrases: Iterable[str]) -> str:
    """Joins phrases into one line, for where they are shown or written."""
    return "; ".join(phrases)


def is_missing(value: object) -> bool:
    """None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
