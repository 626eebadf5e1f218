"""The claims as the page shows them: a verdict, what was found, what is missing, and every comparison made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.claims.comparisons import AGAINST, ASIDE, SHOWN
from analysis.claims.verdicts import CONTRADICTED, SUPPORTED, Verdict
from analysis.page.citations import CitationIndex, Cited
from analysis.tables.table import Column, Row, Source, Table, is_missing, plain

CLAIMS = "claims"
"""Name of the table of verdicts."""
_REFERENCE = {"ratio": 1.0, "chance": 0.5}
"""First word of a measure -> the value that means no difference."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """An effect and its interval drawn on the line that the comparisons of a claim share: places in per cent."""

    at: float
    low: float | None
    high: float | None
    reference: float | None


@dataclass(frozen=True, kw_only=True)
class ComparisonView:
    """One comparison of a claim's test."""

    name: str
    measure: str
    num: str
    effect: str
    p: str
    p_holm: str
    decision: str
    note: str
    strip: Strip | None
    cited: tuple[Cited, ...]


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """One claim and its verdict."""

    number: int
    claim: str
    where: str
    test: str
    verdict: str
    kind: str
    """One word for the style: ``supported``, ``contradicted`` or ``open``."""
    found: tuple[str, ...]
    missing: tuple[str, ...]
    comparisons: tuple[ComparisonView, ...]


def claim_views(verdicts: Iterable[Verdict], citation_index: CitationIndex) -> tuple[ClaimView, ...]:
    """Views of the verdicts of ``analysis.claims.judge``; their trials are cited in the index."""
    return tuple(
        ClaimView(
            number=v.number,
            claim=v.claim,
            where=v.where,
            test=v.test,
            verdict=v.verdict,
            kind=v.verdict if v.verdict in (SUPPORTED, CONTRADICTED) else "open",
            found=_phrases(v.effect),
            missing=_phrases(v.missing),
            comparisons=_comparisons(v, citation_index),
        )
        for v in verdicts
    )


def _phrases(line: str) -> tuple[str, ...]:
    return tuple(phrase for phrase in line.split("; ") if phrase)


def _comparisons(verdict: Verdict, citation_index: CitationIndex) -> tuple[ComparisonView, ...]:
    rows = verdict.details.to_dict("records")
    strips = _strips(rows)
    by_name: dict[str, list[Source]] = {}
    for source in verdict.sources:
        by_name.setdefault(source.row.partition(": ")[2], []).append(source)
    return tuple(
        ComparisonView(
            name=row["comparison"],
            measure=row["measure"],
            num=f"{row['num']} {row['unit']}",
            effect=_interval(row),
            p=_p(row["p"]),
            p_holm=_p(row["p_holm"]),
            decision=row["decision"],
            note=row["note"],
            strip=strip,
            cited=citation_index.cite(by_name.get(row["comparison"], [])),
        )
        for row, strip in zip(rows, strips, strict=True)
    )


def _interval(row: dict[str, Any]) -> str:
    if is_missing(row["effect"]):
        return ""
    form = ".3f" if row["measure"].startswith("ratio") else ".3g"
    if is_missing(row["low"]) or is_missing(row["high"]):
        return format(row["effect"], form)
    return f"{row['effect']:{form}} ({row['low']:{form}} to {row['high']:{form}})"


def _p(value: Any) -> str:
    return "" if is_missing(value) else "<.001" if value < 0.0005 else f"{value:.3f}"


def _strips(rows: Sequence[dict[str, Any]]) -> list[Strip | None]:
    """One scale per measure, wide enough for all intervals and the value that means no difference."""
    ends: dict[str, list[float]] = {}
    for row in rows:
        reference = _REFERENCE.get(row["measure"].split()[0])
        values = [row["effect"], row["low"], row["high"]]
        numbers = [float(v) for v in values if not is_missing(v) and math.isfinite(v)]
        if numbers:
            ends.setdefault(row["measure"], []).extend([*numbers, *([] if reference is None else [reference])])
    return [_strip(row, ends.get(row["measure"], [])) for row in rows]


def _strip(row: dict[str, Any], ends: list[float]) -> Strip | None:
    if is_missing(row["effect"]) or not math.isfinite(row["effect"]) or not ends:
        return None
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 1.0

    def place(value: Any) -> float | None:
        if is_missing(value) or not math.isfinite(value):
            return None
        return round(100.0 * (value - low + margin) / (high - low + 2 * margin), 1)

    at = place(row["effect"])
    assert at is not None
    return Strip(
        at=at,
        low=place(row["low"]),
        high=place(row["high"]),
        reference=place(_REFERENCE.get(row["measure"].split()[0])),
    )


def tally(claims: Sequence[ClaimView]) -> str:
    """How the comparisons that the claims name stand, in a sentence; empty as long as none can be made."""
    decisions = [row.decision for claim in claims for row in claim.comparisons if row.decision != ASIDE]
    shown, against = decisions.count(SHOWN), decisions.count(AGAINST)
    made = sum(bool(row.effect) for claim in claims for row in claim.comparisons if row.decision != ASIDE)
    if not made:
        return ""
    return (
        f"The claims rest on {len(decisions)} comparisons, of which {made} can be made so far: {shown} as claimed, "
        f"{against} against, {made - shown - against} open."
    )


def claims_table(verdicts: Sequence[Verdict]) -> Table:
    """The verdicts as a table, for Markdown, CSV and the terminal."""
    rows = tuple(
        Row(
            name=f"claim {v.number}",
            data={
                "number": v.number, "claim": v.claim, "where": v.where, "verdict": v.verdict, "effect": v.effect,
                "missing": v.missing, "test": v.test,
            },
        )
        for v in verdicts
    )  # fmt: skip
    number = Column(title="Claim", text=plain("number"))
    verdict = Column(title="Verdict", text=plain("verdict"), left=True)
    claim = Column(title="What is claimed", text=plain("claim"), left=True)
    keys = (("where", "Where"), ("effect", "Found"), ("missing", "Missing"), ("test", "Test"))
    return Table(
        name=CLAIMS,
        title="Claims",
        caption="Each claim is one test that was stated before the data; the trials behind each comparison are cited.",
        rows=rows,
        columns=(number, verdict, claim, *(Column(title=title, text=plain(key), left=True) for key, title in keys)),
        narrow=(number, verdict, claim),
        sources=tuple(source for v in verdicts for source in v.sources),
    )


def summary(verdicts: Sequence[Verdict]) -> str:
    """The claims by verdict, on one line."""
    by_verdict: dict[str, list[str]] = {}
    for v in verdicts:
        by_verdict.setdefault(v.verdict, []).append(str(v.number))
    return "Claims: " + "; ".join(f"{len(n)} {verdict} ({', '.join(n)})" for verdict, n in by_verdict.items())
