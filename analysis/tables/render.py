"""A table as Markdown, CSV and lines of the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text

from analysis.tables.table import Column, Row, Table

WIDTH = 100
"""Characters to which notes and captions are wrapped in the terminal."""
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")


def escape_markdown(text: str) -> str:
    """The text with all that Markdown or HTML would act on made literal, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def markdown(table: Table, *, level: int = 1) -> str:
    """The table as GitHub-flavoured Markdown with a heading, its caption and its notes."""
    notes = table.numbered_notes()
    lines = [f"{'#' * level} {escape_markdown(table.title)}", "", escape_markdown(table.caption), ""]
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
    table.frame().to_csv(paths[1], index=False)
    table.provenance().to_csv(paths[2], index=False)
    return paths


def print_table(table: Table, console: Console) -> None:
    """Prints the narrow view: a line per row, a heading per section, the numbered notes below."""
    notes = table.numbered_notes()
    columns = table.narrow
    cells = [[column.text(row.data) for column in columns] for row in table.rows]
    marks = [str(notes.get(row.note, "")) for row in table.rows]
    titles = [column.title.split("\n") for column in columns]
    depth = max(len(lines) for lines in titles)
    titles = [[""] * (depth - len(lines)) + lines for lines in titles]
    # The upper line of a heading may reach over the columns to its right, so it takes no part in the width.
    widths = [max(len(title[-1]), *(len(row[i]) for row in cells), 0) for i, title in enumerate(titles)]
    _print(console, Text(table.title, style="bold"))
    for i in range(depth - 1):
        _print(console, Text(_upper_heading([t[i] for t in titles], columns, widths), style="bold"))
    _print(console, Text(_fields([t[-1] for t in titles], columns, widths), style="bold"))
    numbered = zip(table.rows, cells, marks, strict=True)
    for section, rows in groupby(numbered, key=lambda item: item[0].section):
        if section:
            _print(console, Text(section, style="cyan"))
        for row, texts, mark in rows:
            line = _fields(texts, columns, widths) + (f"  {mark}" if mark else "")
            _print(console, Text(line.rstrip(), style=_style(row)))
    for paragraph in (table.caption, *(f"{i}: {note}" for note, i in notes.items())):
        for line in textwrap.wrap(paragraph, WIDTH, subsequent_indent="   " if paragraph[0].isdigit() else ""):
            _print(console, Text(line, style="dim"))


def _style(row: Row) -> str:
    return "dim" if row.dim else ""


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False)


def _fields(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = (f"{t:<{w}}" if c.left else f"{t:>{w}}" for t, c, w in zip(texts, columns, widths, strict=True))
    return " ".join(parts).rstrip()


def _upper_heading(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    line, start = "", 0
    for text, column, width in zip(texts, columns, widths, strict=True):
        if text:
            at = start if column.left or len(text) > width else start + width - len(text)
            line = line.ljust(at) + text
        start += width + 1
    return line
