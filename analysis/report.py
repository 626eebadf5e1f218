"""``python -m analysis.report``: the records of a study, finished or not, as tables and figures beside the paper's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from analysis import style
from analysis.figures import FIGURES, Figure
from analysis.load import Results, load_results
from analysis.render import WIDTH, escape_markdown, markdown, print_table, write_table
from analysis.table import Table
from analysis.tables import TABLES
from study.records import StorageError, default_storage, is_remote

FIRST_STUDY = "python -m study.run --variant all --size tiny --corpus toy"


def build_parser() -> argparse.ArgumentParser:
    """The command line of the report."""
    found = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__, allow_abbrev=False)
    found.add_argument(
        "--results", action="append", metavar="DIR|s3://...",
        help=f"storage to read; give it again to join several (default: $STUDY_STORAGE or results, here "
        f"{default_storage().replace('%', '%%')})",
    )  # fmt: skip
    found.add_argument("--output", type=Path, default=Path("report"), metavar="DIR", help="folder (default: report)")
    found.add_argument("--table", action="append", choices=sorted(TABLES), help="only this table; can be repeated")
    found.add_argument("--figure", action="append", choices=sorted(FIGURES), help="only this figure; can be repeated")
    return found


def write_report(results: Results, output: Path, *, tables: Sequence[Table], figures: Sequence[str]) -> list[str]:
    """Writes the tables, the figures and ``report.md`` that includes them all.

    Returns:
        The names of the figures that have nothing to show yet.
    """
    output.mkdir(parents=True, exist_ok=True)
    storages = ", ".join(escape_markdown(storage) for storage in results.storages)
    parts = ["# Report", "", f"From the records under {storages}. The paper: Inan, Khosravi and Socher, ICLR 2017."]
    if results.is_empty:
        parts += ["", f"Nothing has been run yet. A first study of a minute or two: `{FIRST_STUDY}`"]
    for table in tables:
        write_table(table, output)
        files = ", ".join(f"[{table.name}{suffix}]({table.name}{suffix})" for suffix in (".csv", ".trials.csv"))
        parts += ["", markdown(table, level=2), f"As data, and the trials behind each number: {files}"]
    empty = []
    for name in figures:
        figure = FIGURES[name]
        drawn = _write_figure(figure, results, output)
        parts += ["", f"## {escape_markdown(figure.title)}", "", escape_markdown(figure.caption), ""]
        parts += drawn or ["Nothing to draw yet."]
        empty += [] if drawn else [name]
    (output / "report.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    return empty


def _write_figure(figure: Figure, results: Results, output: Path) -> list[str]:
    """Writes one figure and its numbers; returns its lines of the report, none if there is nothing to draw."""
    info, name = figure.data(results), figure.name
    if info.is_empty:
        for suffix in (".png", ".svg", ".csv"):  # of an earlier report on other records
            (output / f"{name}{suffix}").unlink(missing_ok=True)
        return []
    style.save(figure.draw(info), output, name)
    info.frame().to_csv(output / f"{name}.csv", index=False)
    image = f"![{escape_markdown(figure.title)}]({name}.png)"
    return [image, "", f"As [SVG]({name}.svg); its numbers and the trials behind them: [{name}.csv]({name}.csv)"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    args = build_parser().parse_args(argv)
    for storage in args.results or ():
        if not is_remote(storage) and not Path(storage).expanduser().is_dir():
            build_parser().error(f"--results must be a folder or an s3:// URI, got {storage!r}, which is no folder")
    only = args.table or args.figure
    names = args.table or ([] if only else list(TABLES))
    figures = args.figure or ([] if only else list(FIGURES))
    if args.output.exists() and not args.output.is_dir():
        build_parser().error(f"--output must be a folder, got {str(args.output)!r}, which is a file")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        results = load_results(args.results or [default_storage()])
    except (StorageError, OSError, pa.ArrowException) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return 1
    tables = [TABLES[name](results) for name in names]
    empty = write_report(results, args.output, tables=tables, figures=figures)
    for table in tables if args.table else tables[:1]:
        print_table(table, console)
    if results.is_empty:
        print(f"\nNo records under {', '.join(results.storages)}. A first study of a minute or two: {FIRST_STUDY}")
    elif empty:
        print(f"\nNothing to draw yet in: {', '.join(empty)}")
    print(f"\nReport: {args.output / 'report.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
