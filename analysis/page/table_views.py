"""A table as the page shows it: every number of ours is linked to the trials that it rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from analysis.page.citations import CitationIndex, Cited
from analysis.records.sources import TrialKey
from analysis.tables.table import Table


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

    table: Table
    groups: tuple[tuple[str, tuple[RowView, ...]], ...]
    """(section, its rows)."""
    notes: tuple[str, ...]
    citations: tuple[Citation, ...]
    files: tuple[str, ...]
    command: str
    """Command that runs its trials, if it has none yet; else empty."""


def table_view(
    table: Table, citation_index: CitationIndex, *, files: Sequence[str] = (), command: str = ""
) -> TableView:
    """Links the cells of a table to their trials, which are cited in the index; cells with the same share one list."""
    notes = table.numbered_notes()
    citations: list[Citation] = []
    groups = []
    for section, rows in groupby(table.rows, key=lambda row: row.section):
        views = []
        for row in rows:
            cells = [(column, column.cell(row.data)) for column in table.columns]
            titles: dict[tuple[TrialKey, ...], list[str]] = {}
            for column, cell in cells:
                if cell.trials:
                    titles.setdefault(cell.trials, []).append(column.title)
            name = next((cell.text for column, cell in cells if column.left and cell.text), row.name)
            anchors = {trials: f"{table.name}-trials-{len(citations) + i}" for i, trials in enumerate(titles, start=1)}
            citations += [
                Citation(
                    anchor=anchors[trials],
                    label=f"{', '.join(filter(None, (section, name)))}: {', '.join(shown)}",
                    cited=citation_index.cite(trials),
                )
                for trials, shown in titles.items()
            ]
            shown_cells = tuple(
                CellView(text=cell.text, left=column.left, anchor=anchors.get(cell.trials, ""))
                for column, cell in cells
            )
            views.append(RowView(cells=shown_cells, note=notes.get(row.note), dim=row.dim))
        groups.append((section, tuple(views)))
    return TableView(
        table=table,
        groups=tuple(groups),
        notes=tuple(notes),
        citations=tuple(citations),
        files=tuple(files),
        command="" if citations else command,
    )
