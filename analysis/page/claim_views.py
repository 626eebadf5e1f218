"""The claims as the page shows them: a verdict, what was found, what is missing, and every comparison made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.claims.comparisons import AGAINST, ASIDE, SHOWN, Comparison
from analysis.claims.verdicts import CONTRADICTED, SUPPORTED, Verdict, interval_text
from analysis.page.citations import CitationIndex, Cited
from analysis.tables.table import Column, Measured, Row, Table, joined, plain

CLAIMS = "claims"
"""Name of the table of verdicts."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """An effect and its interval drawn on the line that the comparisons of a claim share: places in per cent."""

    at: float
    low: float | None
    high: float | None
    reference: float | None


@dataclass(frozen=True, kw_only=True)
class ComparisonView:
    """One comparison of a claim's test, its numbers formatted."""

    comparison: Comparison
    effect: str
    p: str
    p_holm: str
    strip: Strip | None
    cited: tuple[Cited, ...]


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """One claim and its verdict."""

    verdict: Verdict
    kind: str
    """One word for the style: ``supported``, ``contradicted`` or ``open``."""
    comparisons: tuple[ComparisonView, ...]


def claim_views(verdicts: Iterable[Verdict], citation_index: CitationIndex) -> tuple[ClaimView, ...]:
    """Views of the verdicts of ``analysis.claims.judge``; their trials are cited in the index."""
    return tuple(
        ClaimView(
            verdict=v,
            kind=v.verdict if v.verdict in (SUPPORTED, CONTRADICTED) else "open",
            comparisons=tuple(
                ComparisonView(
                    comparison=c,
                    effect=interval_text(c),
                    p=_p(c.p),
                    p_holm=_p(c.p_holm),
                    strip=_strip(c, v.comparisons),
                    cited=citation_index.cite(c.trials),
                )
                for c in v.comparisons
            ),
        )
        for v in verdicts
    )


def _p(value: float | None) -> str:
    return "" if value is None else "<.001" if value < 0.0005 else f"{value:.3f}"


def _strip(comparison: Comparison, comparisons: Sequence[Comparison]) -> Strip | None:
    """Draws an effect on the scale of its measure, which all intervals and the effect of no difference fit into."""
    if comparison.effect is None:
        return None
    reference = comparison.measure.no_difference
    own = [c for c in comparisons if c.measure == comparison.measure]
    ends = [end for c in own for end in (c.effect, c.low, c.high, reference) if end is not None]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 1.0

    def place(value: float) -> float:
        return round(100.0 * (value - low + margin) / (high - low + 2 * margin), 1)

    return Strip(
        at=place(comparison.effect),
        low=None if comparison.low is None else place(comparison.low),
        high=None if comparison.high is None else place(comparison.high),
        reference=None if reference is None else place(reference),
    )


def tally(claims: Sequence[ClaimView]) -> str:
    """Counts of the decisions on the comparisons that the claims name; empty as long as none can be made."""
    named = [c for claim in claims for c in claim.verdict.comparisons if c.decision != ASIDE]
    made = sum(c.effect is not None for c in named)
    shown, against = (sum(c.decision == decision for c in named) for decision in (SHOWN, AGAINST))
    if not made:
        return ""
    return (
        f"The claims rest on {len(named)} comparisons, of which {made} can be made so far: {shown} as claimed, "
        f"{against} against, {made - shown - against} open."
    )


def claims_table(verdicts: Sequence[Verdict]) -> Table:
    """The verdicts as a table, for Markdown, CSV and the terminal."""
    rows = tuple(
        Row(
            name=f"claim {v.number}",
            data={
                "number": v.number, "claim": v.claim, "where": v.where, "verdict": v.verdict,
                "effect": joined(v.effect), "missing": joined(v.missing), "test": v.test,
            },
            parts=tuple(
                Row(name=f"claim {v.number}: {c.name}", data={"effect": Measured(c.effect, c.trials)})
                for c in v.comparisons
            ),
        )
        for v in verdicts
    )  # fmt: skip
    number = Column(title="Claim", cell=plain("number"))
    verdict = Column(title="Verdict", cell=plain("verdict"), left=True)
    claim = Column(title="What is claimed", cell=plain("claim"), left=True)
    keys = (("where", "Where"), ("effect", "Found"), ("missing", "Missing"), ("test", "Test"))
    return Table(
        name=CLAIMS,
        title="Claims",
        caption="Each claim is one test that was stated before the data; the trials behind each comparison are cited.",
        rows=rows,
        columns=(number, verdict, claim, *(Column(title=title, cell=plain(key), left=True) for key, title in keys)),
        narrow=(number, verdict, claim),
    )


def summary(verdicts: Sequence[Verdict]) -> str:
    """The claims by verdict, on one line."""
    by_verdict: dict[str, list[str]] = {}
    for v in verdicts:
        by_verdict.setdefault(v.verdict, []).append(str(v.number))
    return "Claims: " + "; ".join(f"{len(n)} {verdict} ({', '.join(n)})" for verdict, n in by_verdict.items())
