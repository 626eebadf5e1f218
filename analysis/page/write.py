"""Writes the page, or single tables and figures, with their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.claims import judge
from analysis.claims.verdicts import Verdict
from analysis.figures import FIGURES
from analysis.figures.figure import Figure
from analysis.health import Check
from analysis.page.claim_views import CLAIMS, claims_table
from analysis.page.health_views import HEALTH, health_table
from analysis.page.page import Page, Picture, build_page
from analysis.page.pictures import write_pictures, writing_pictures
from analysis.records.load import Results
from analysis.tables import TABLES
from analysis.tables.render import write_table
from analysis.tables.table import Table

NAMES = (CLAIMS, HEALTH, *TABLES, *FIGURES)
"""Tables and figures that ``--only`` accepts."""
PAGE = "report.html"
MAIN_TABLE = "table1"
FIRST_STUDY = "python -m study.run --variant all --size tiny --corpus toy"
_TARGETS = {"word_mass": "table4"}
"""Table -> target of ``study.reproduce`` that runs its studies, where it is neither the table's name nor Table 1."""
_TEMPLATES = Path(__file__).with_name("templates")
_CODE = re.compile(r"`([^`]+)`")


def write_only(
    results: Results, out: Path, names: Sequence[str], checks: Sequence[Check]
) -> tuple[list[Table], list[Picture], list[Figure]]:
    """Writes single tables and figures; returns them, with the figures that have nothing to show."""
    tables = [claims_table(judge(results))] if CLAIMS in names else []
    tables += [health_table(checks)] if HEALTH in names else []
    tables += [make(results) for name, make in TABLES.items() if name in names]
    for table in tables:
        _write_table(table, out)
    figures = [name for name in FIGURES if name in names]
    pictures, skipped = write_pictures(results, out / "figures", only=figures) if figures else ([], [])
    return tables, pictures, skipped


def write_all(results: Results, out: Path, checks: Sequence[Check]) -> tuple[Table, list[Verdict]]:
    """Writes the page, every table and figure, and the records as CSV; returns the main table and the verdicts."""
    with writing_pictures(results, out / "figures") as written:
        verdicts = judge(results)
        tables = [make(results) for make in TABLES.values()]
        shown = (claims_table(verdicts), health_table(checks), *tables)
        files = {table.name: _write_table(table, out) for table in shown}
        files["records"] = _write_records(results, out)
        pictures, skipped = written()
    page = build_page(
        results,
        tables=tables,
        verdicts=verdicts,
        checks=checks,
        pictures=pictures,
        skipped=skipped,
        commands={name: f"python -m study.reproduce {_target(name)}" for name in TABLES},
        first_command=FIRST_STUDY,
        files=files,
    )
    (out / PAGE).write_text(render_page(page), encoding="utf-8")
    return next(table for table in tables if table.name == MAIN_TABLE), verdicts


def _target(name: str) -> str:
    return _TARGETS.get(name, name if name[-1].isdigit() else MAIN_TABLE)


def _write_table(table: Table, out: Path) -> list[str]:
    """Writes a table's files; returns them, relative to the page."""
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    return [path.relative_to(out).as_posix() for path in write_table(table, folder)]


def _write_records(results: Results, out: Path) -> list[str]:
    """Writes every trial and run as CSV; returns the files, relative to the page."""
    frames = {"trials": results.trials, "runs": results.runs, "subspace": results.subspace}
    for name, frame in frames.items():
        frame.to_csv(out / "tables" / f"{name}.csv", index=False)
    return [f"tables/{name}.csv" for name in frames]


def render_page(page: Page) -> str:
    """The HTML of the page: one file that loads nothing. Whatever the records hold appears as text.

    The templates lay out ``page.Page`` and decide nothing.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["prose"] = prose
    return environment.get_template("report.html").render(page=page)


def prose(text: str) -> Markup:
    """Escaped text with backticks turned into ``<code>``."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
