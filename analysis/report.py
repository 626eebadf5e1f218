"""``python -m analysis.report``: the records of studies, finished or not, as one HTML page, tables and figures.

Exit status: 0; 1 if the records cannot be read or the report not written; 2 for a mistake in the command line; 3 with
``--strict`` if a health check finds a problem.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from analysis.health import PROBLEM, Check, check_health
from analysis.page import claim_views, health_views
from analysis.page.write import FIRST_STUDY, NAMES, PAGE, write_all, write_only
from analysis.records.load import Results, load_results
from analysis.tables.render import WIDTH, print_table
from study.records.records import StorageError, default_storage, is_remote

PROBLEM_STATUS = 3


def build_parser() -> argparse.ArgumentParser:
    """The command line of the report."""
    found = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__, allow_abbrev=False)
    found.add_argument(
        "--results", action="extend", nargs="+", metavar="DIR|s3://...",
        help=f"storages to read and join (default: $STUDY_STORAGE or results, here "
        f"{default_storage().replace('%', '%%')})",
    )  # fmt: skip
    found.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="folder (default: report)")
    found.add_argument(
        "--only", action="extend", type=_names, metavar="NAME,...",
        help=f"these tables and figures alone, and no page: {', '.join(NAMES)}",
    )  # fmt: skip
    found.add_argument(
        "--strict", action="store_true", help=f"exit with {PROBLEM_STATUS} if a health check finds a problem"
    )
    return found


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"must be among {', '.join(NAMES)}, got {name!r}")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for storage in args.results or ():
        if not is_remote(storage) and not Path(storage).expanduser().is_dir():
            parser.error(f"--results must be a folder or an s3:// URI, got {storage!r}, which is no folder")
    if args.out.exists() and not args.out.is_dir():
        parser.error(f"--out must be a folder, got {str(args.out)!r}, which is a file")
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    try:
        results = load_results(args.results or [default_storage()])
        checks = check_health(results)
        if args.only:
            _report_only(results, args.out, args.only, checks, console)
        else:
            _report_all(results, args.out, checks, console)
    except (StorageError, OSError, pa.ArrowException) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return 1
    problems = [check for check in checks if check.level == PROBLEM]
    for check in problems if args.strict or not args.only else ():
        _say(console, f"problem: {check.name}: {check.message}", style="red")
    if not args.only:
        _say(console, f"\nReport: {args.out / PAGE}")
    return PROBLEM_STATUS if problems and args.strict else 0


def _report_only(results: Results, out: Path, names: Sequence[str], checks: Sequence[Check], console: Console) -> None:
    tables, pictures, skipped = write_only(results, out, names, checks)
    for table in tables:
        print_table(table, console)
        _say(console, f"\nWritten: {out / 'tables' / table.name}.md, .csv and .trials.csv\n")
    for picture in pictures:
        _say(console, f"{picture.title}\nWritten: {out / 'figures' / picture.name}.png, .svg and .csv\n")
    for figure in skipped:
        _say(console, f"{figure.title}\nNothing to draw: {figure.needs}\n")


def _report_all(results: Results, out: Path, checks: Sequence[Check], console: Console) -> None:
    table, verdicts = write_all(results, out, checks)
    print_table(table, console)
    _say(console, f"\n{claim_views.summary(verdicts)}\n{health_views.summary(checks)}")
    if results.is_empty:
        storages = ", ".join(results.storages)
        _say(console, f"\nNo records under {storages}. A first study of a minute or two: {FIRST_STUDY}")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
