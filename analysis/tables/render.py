"""A table as Markdown, CSV and lines of the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from analysis.records.sources import write_csv
from analysis.tables.table import Table

WIDTH = 100
"""Widest line of notes and captions, and width of a console that is no terminal, in characters."""
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")


def escape_markdown(text: str) -> str:
    """Escapes Markdown and HTML, and joins the text into one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def markdown(table: Table) -> str:
    """The table as GitHub-flavoured Markdown with a heading, its caption and its notes."""
    notes = table.numbered_notes()
    lines = [f"# {escape_markdown(table.title)}", "", escape_markdown(table.caption), ""]
    sections = any(row.section for row in table.rows)
    columns = table.columns
    titles = [*(["Network"] if sections else []), *(c.title for c in columns), *(["Note"] if notes else [])]
    align = ["---" if c.left else "---:" for c in columns]
    align = [*(["---"] if sections else []), *align, *(["---:"] if notes else [])]
    lines += [_line(escape_markdown(title) for title in titles), _line(align)]
    for row in table.rows:
        cells = [*([row.section] if sections else []), *(c.text(row.data) for c in columns)]
        numbers = [str(notes.get(row.note, ""))] if notes else []
        lines.append(_line([*(escape_markdown(cell) for cell in cells), *numbers]))
    if notes:
        lines += ["", "Notes:", "", *(f"{i}. {escape_markdown(note)}" for note, i in notes.items())]
    return "\n".join(lines) + "\n"


def _line(cells: Iterator[str] | Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes ``NAME.md``, ``NAME.csv`` and ``NAME.trials.csv`` (the trial ids behind each number)."""
    paths = [folder / f"{table.name}{suffix}" for suffix in (".md", ".csv", ".trials.csv")]
    paths[0].write_text(markdown(table), encoding="utf-8")
    write_csv(table.frame(), paths[1])
    write_csv(table.provenance(), paths[2])
    return paths


def print_table(table: Table, console: Console) -> None:
    """Prints the narrow view: the heading, a grid per section, and the numbered notes below.

    Sections without a result are named in one line, unless there is no other. Captions and notes wrap at the
    terminal's width; rows are never cut or wrapped, so that no number is lost.
    """
    notes, empty = table.numbered_notes(), table.empty_sections()
    rows_shown = [row for row in table.rows if row.section not in empty]
    cells = [[column.text(row.data) for column in table.narrow] for row in rows_shown]
    widths = [
        max(map(len, [*column.title.split("\n"), *(texts[i] for texts in cells)]))
        for i, column in enumerate(table.narrow)
    ]
    console.print(Text(table.title, style="bold"))
    sections = groupby(zip(rows_shown, cells, strict=True), key=lambda pair: pair[0].section)
    for section, rows in [(None, ()), *((section, list(rows)) for section, rows in sections)]:
        if section:
            console.print(Text(section, style="cyan"), soft_wrap=True)
        grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=section is None, header_style="bold")
        for column, width in zip(table.narrow, widths, strict=True):
            grid.add_column(
                Text(column.title), justify="left" if column.left else "right", vertical="bottom", min_width=width
            )
        grid.add_column(justify="right")  # the number of the note
        for row, texts in rows:
            grid.add_row(*map(Text, [*texts, str(notes.get(row.note, ""))]), style="dim" if row.dim else None)
        console.print(grid, width=max(console.width, 2 * WIDTH), crop=False)
    if empty:
        console.print(Text(f"Without results: {'; '.join(empty)}", style="dim"), width=min(WIDTH, console.width))
    shown_notes = {row.note for row in rows_shown}
    for paragraph in (table.caption, *(f"{i}: {note}" for note, i in notes.items() if note in shown_notes)):
        console.print(Text(paragraph, style="dim"), width=min(WIDTH, console.width))
