"""A table as the page shows it: every number of ours is linked to the trials that it rests on.

A cell knows which values of its row it shows, and the table which trials are behind each value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from analysis.page.citations import CitationIndex, Cited
from analysis.tables.table import Column, Row, Source, Table

_GIVEN = ("paper", "printed", "num_params", "corpus", "size", "rank", "frequency_rank")
"""Beginnings of values that rest on no trial: the paper's, and what follows from the configuration."""


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One cell of a table."""

    text: str
    left: bool
    anchor: str = ""
    """Of the list of its trials."""

    @property
    def is_none(self) -> bool:
        """Whether it says that there is no number."""
        return not self.left and not re.search(r"\d", self.text)


@dataclass(frozen=True, kw_only=True)
class RowView:
    """One row of a table."""

    cells: tuple[CellView, ...]
    note: int | None
    """The number of its note."""
    dim: bool


@dataclass(frozen=True, kw_only=True)
class Citation:
    """The trials behind one or more cells of a row."""

    anchor: str
    label: str
    cited: tuple[Cited, ...]


@dataclass(frozen=True, kw_only=True)
class TableView:
    """A table, its cells' links and what they lead to."""

    name: str
    title: str
    caption: str
    headings: tuple[tuple[str, bool], ...]
    """(title, whether it is aligned to the left)."""
    groups: tuple[tuple[str, tuple[RowView, ...]], ...]
    """(section, its rows)."""
    notes: tuple[str, ...]
    citations: tuple[Citation, ...]
    files: tuple[str, ...]
    command: str
    """What fills it, if no trial stands behind it yet; else empty."""

    @property
    def num_rows(self) -> int:
        """Rows of all sections together."""
        return sum(len(rows) for _, rows in self.groups)


def table_view(
    table: Table, citation_index: CitationIndex, *, files: Sequence[str] = (), command: str = ""
) -> TableView:
    """A table as the page shows it; its sources are cited in the index."""
    notes = table.numbered_notes()
    by_row: dict[str, list[Source]] = {}
    for source in table.sources:
        by_row.setdefault(source.row, []).append(source)
    citations: list[Citation] = []
    groups = []
    for section, rows in groupby(table.rows, key=lambda row: row.section):
        views = []
        for row in rows:
            cells, found = _cells(table, row, by_row.get(row.name, []), citation_index, len(citations))
            citations += found
            views.append(RowView(cells=cells, note=notes.get(row.note), dim=row.dim))
        groups.append((section, tuple(views)))
    return TableView(
        name=table.name,
        title=table.title,
        caption=table.caption,
        headings=tuple((" ".join(c.title.split()), c.left) for c in table.columns),
        groups=tuple(groups),
        notes=tuple(notes),
        citations=tuple(citations),
        files=tuple(files),
        command="" if table.sources else command,
    )


def _cells(
    table: Table, row: Row, sources: list[Source], citation_index: CitationIndex, num_before: int
) -> tuple[tuple[CellView, ...], list[Citation]]:
    """The cells of a row and the citations that they lead to: cells with the same trials share one."""
    texts, shown, behind = [], [], []
    for column in table.columns:
        text, keys = read_cell(column, row)
        texts.append(text)
        shown.append({*sources_of(text, keys, sources)})
    for own in shown:
        if own and own not in behind:
            behind.append(own)
    if (rest := {*sources} - {s for own in behind for s in own}) and rest not in behind:
        behind.append(rest)
    name = next((text for text, c in zip(texts, table.columns, strict=True) if c.left and text), row.name)
    citations = []
    for i, own in enumerate(behind, start=num_before + 1):
        titles = [" ".join(c.title.split()) for c, o in zip(table.columns, shown, strict=True) if o == own]
        label = ", ".join(filter(None, (row.section, name))) + (f": {', '.join(titles)}" if titles else "")
        ordered = [source for source in sources if source in own]
        citations.append(Citation(anchor=f"{table.name}-trials-{i}", label=label, cited=citation_index.cite(ordered)))
    anchors = [citations[behind.index(own)].anchor if own else "" for own in shown]
    cells = zip(texts, table.columns, anchors, strict=True)
    return tuple(CellView(text=text, left=column.left, anchor=anchor) for text, column, anchor in cells), citations


class _Reading(Mapping[str, Any]):
    """A row's values, which remembers the names of those that were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values, self.read = values, dict[str, None]()

    def __getitem__(self, key: str) -> Any:
        self.read[key] = None
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def read_cell(column: Column, row: Row) -> tuple[str, tuple[str, ...]]:
    """A cell's text, and the names of the row's values that it was made from."""
    reading = _Reading(row.data)
    return column.text(reading), tuple(reading.read)


def sources_of(text: str, keys: Sequence[str], sources: Sequence[Source]) -> list[Source]:
    """Those of a row's sources that a cell with this text, made from these values, rests on.

    A value rests on the sources of its own name, or of a name that it extends (``recipe_test_diff``); failing that on
    those that share its beginning (``test_p`` and ``test_ratio``); failing that on all of the row. Only text with a
    number in it rests on anything, and what the paper or the configuration gives rests on no trial.
    """
    if not sources or not re.search(r"\d", text):
        return []
    found = [s for s in sources if any(k == s.column or k.startswith(s.column + "_") for k in keys)]
    if found:
        return found
    if any(key.startswith(_GIVEN) for key in keys) or not keys:
        return []
    stems = {s.column: s.column.rpartition("_")[0] for s in sources}
    return [s for s in sources if stems[s.column] and any(k.startswith(stems[s.column] + "_") for k in keys)] or [
        *sources
    ]
