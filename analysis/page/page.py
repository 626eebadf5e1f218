"""The content of the HTML page as plain data, which ``templates/`` lays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.claims.verdicts import CONTRADICTED, SUPPORTED, Verdict
from analysis.figures.figure import Figure
from analysis.health import Check
from analysis.page.citations import CitationIndex, Cited, StudyView
from analysis.page.claim_views import ClaimView, claim_views, tally
from analysis.page.health_views import CheckGroup, check_groups
from analysis.page.table_views import TableView, table_view
from analysis.records.load import Results
from analysis.records.sources import TrialKey
from analysis.tables.table import Table


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of the report and the files it was written to, relative to the page."""

    name: str
    title: str
    caption: str
    section: str
    """``paper`` or ``study``."""
    uri: str
    """The picture itself, as a data URI."""
    width: int
    """In CSS pixels; likewise ``height``."""
    height: int
    files: tuple[str, ...]
    trials: tuple[TrialKey, ...]
    """Trials behind its numbers."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole content, in the order of the page."""

    answer: str
    tally: str
    """Counts of the decisions on the claims' comparisons; empty if none has been made."""
    facts: tuple[tuple[str, str], ...]
    is_empty: bool
    first_command: str
    claims: tuple[ClaimView, ...]
    tables: tuple[TableView, ...]
    pictures: tuple[tuple[Picture, tuple[Cited, ...]], ...]
    """Each with the trials that are in it."""
    skipped: tuple[Figure, ...]
    checks: tuple[CheckGroup, ...]
    studies: tuple[StudyView, ...]
    files: tuple[str, ...]
    """The records behind the page, as CSV."""


def build_page(
    results: Results,
    *,
    tables: Sequence[Table],
    verdicts: Sequence[Verdict],
    checks: Sequence[Check],
    pictures: Sequence[Picture],
    skipped: Sequence[Figure],
    commands: Mapping[str, str],
    first_command: str,
    files: Mapping[str, Sequence[str]],
) -> Page:
    """Builds the page.

    Args:
        results: the records.
        tables: in the order of the page.
        verdicts: of ``analysis.claims.judge``.
        checks: of ``analysis.health.check_health``.
        pictures: in the order of the page.
        skipped: figures without anything to show.
        commands: name of a table -> the command that runs what it needs.
        first_command: what to run where there is nothing at all.
        files: name of a table, or ``records`` -> its files, relative to the page.
    """
    citation_index = CitationIndex(results)
    claims = claim_views(verdicts, citation_index)
    views = tuple(
        table_view(t, citation_index, files=files.get(t.name, ()), command=commands.get(t.name, "")) for t in tables
    )
    drawn = tuple((picture, citation_index.cite(picture.trials)) for picture in pictures)
    checked = check_groups(checks, citation_index)
    return Page(
        answer=answer([verdict.verdict for verdict in verdicts], is_empty=results.is_empty),
        tally=tally(claims),
        facts=_facts(results),
        is_empty=results.is_empty,
        first_command=first_command,
        claims=claims,
        tables=views,
        pictures=drawn,
        skipped=tuple(skipped),
        checks=checked,
        studies=citation_index.studies(),  # last: all is cited by now
        files=tuple(files.get("records", ())),
    )


def answer(verdicts: Sequence[str], *, is_empty: bool) -> str:
    """Counts of the verdicts in one sentence."""
    num = len(verdicts)
    if is_empty:
        return f"No study has been run yet, so none of the {num} claims can be judged."
    supported, contradicted = verdicts.count(SUPPORTED), verdicts.count(CONTRADICTED)
    open_ = num - supported - contradicted
    if open_ == num:
        return f"Today's evidence is not enough to judge any of the {num} claims."
    parts = [f"supports {supported}" if supported else "", f"contradicts {contradicted}" if contradicted else ""]
    said = " and ".join(filter(None, parts))
    return f"Of {num} claims, today's evidence {said}" + (f"; for {open_} it is not enough." if open_ else ".")


def _facts(results: Results) -> tuple[tuple[str, str], ...]:
    trials, epochs = results.trials, results.epochs
    studies = {*trials["study"], *results.runs["study"], *results.subspace["study"]}
    times = [t for t in (trials["ended_at"].max(), results.runs["heartbeat_at"].max()) if t == t and t is not None]
    times += [t for t in (results.subspace["recorded_at"].max(),) if t == t and t is not None]
    facts = {
        "studies": f"{len(studies):,}",
        "trials": f"{len(trials) + len(results.subspace[['study', 'trial_id']].drop_duplicates()):,}",
        "epochs": f"{len(epochs) + len(results.subspace):,}",
        "device-hours": f"{(trials['device_s'].sum() + results.subspace['epoch_s'].sum()) / 3600.0:,.1f}",
        "last record": f"{max(times):%Y-%m-%d %H:%M} UTC" if times else "none",
        "records": ", ".join(results.storages),
    }
    return tuple(facts.items())
