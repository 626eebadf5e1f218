"""From the comparisons of a claim's test to its verdict, in words that a person can check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.claims.arms import Arm, Arms
from analysis.claims.comparisons import AGAINST, OPEN, PPL_RATIO, SHOWN, Comparison, settle
from analysis.tables.table import Source

SUPPORTED, CONTRADICTED, NOT_ENOUGH = "supported", "contradicted", "not enough evidence"
_MOST_SPELLED = 4  # comparisons that the line of the effect spells out
_MOST_ASIDE = 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records say about one claim."""

    number: int
    claim: str
    """The statement, in our words."""
    where: str
    """Where the paper makes it."""
    test: str
    """The test, stated before the data: what is compared, and which rule gives which verdict."""
    verdict: str
    """``SUPPORTED``, ``CONTRADICTED`` or ``NOT_ENOUGH``."""
    effect: str
    """What was found, one line."""
    missing: str
    """What is missing and how many more seeds or trials it would take; empty if nothing is."""
    details: pd.DataFrame
    """A row per comparison made or missing."""
    sources: tuple[Source, ...]
    """The trials behind each comparison."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a claim's test found."""

    comparisons: Sequence[Comparison]
    remark: str = ""
    """A further number that people ask for; the verdict does not rest on it."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim and its test."""

    number: int
    claim: str
    where: str
    test: str
    compare: Callable[[Arms], Findings]


def conclude(claim: Claim, findings: Findings) -> Verdict:
    """The verdict of a claim from its comparisons."""
    comparisons = settle(findings.comparisons)
    named = [c for c in comparisons if c.named]
    if any(c.decision == AGAINST for c in named):
        verdict = CONTRADICTED
    elif named and all(c.decision == SHOWN for c in named):
        verdict = SUPPORTED
    else:
        verdict = NOT_ENOUGH
    parts = [_effect(comparisons), findings.remark]
    return Verdict(
        number=claim.number,
        claim=claim.claim,
        where=claim.where,
        test=" ".join(claim.test.split()),
        verdict=verdict,
        effect="; ".join(filter(None, parts)) or "nothing to compare yet",
        missing=_missing(named) if verdict == NOT_ENOUGH else "",
        details=details(comparisons),
        sources=tuple(_sources(claim.number, comparisons)),
    )


def details(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """A row per comparison."""
    columns = ("comparison", "measure", "num", "unit", "effect", "low", "high", "p", "p_holm", "decision", "note")
    rows = [
        (c.name, c.measure, c.num, c.unit, c.effect, c.low, c.high, c.p, c.p_holm, c.decision, "; ".join(_notes(c)))
        for c in comparisons
    ]
    return pd.DataFrame(rows, columns=list(columns), dtype=object)


def spell(c: Comparison) -> str:
    """One comparison in a few words: its name, effect, interval, p-value and size."""
    found = f"{c.name} = {_number(c, c.effect)}"
    if c.low is not None and c.high is not None:
        found += f" ({_number(c, c.low)} to {_number(c, c.high)})"
    if c.p is not None:
        found += f", p = {c.p:.2g}" if c.p >= 0.001 else ", p < .001"
    return f"{found}, {c.num} {c.unit if c.num != 1 else c.unit.removesuffix('s')}"


def _effect(comparisons: Sequence[Comparison]) -> str:
    named = [c for c in comparisons if c.named]
    judged = [c for c in named if c.effect is not None and c.usable]
    barred = [c for c in named if c.effect is not None and not c.usable]
    beside = [c for c in comparisons if not c.named and c.effect is not None]
    parts = []
    if len(named) > 1 and judged:
        counts = [f"{sum(c.decision == SHOWN for c in named)} of {len(named)} comparisons shown"]
        if against := sum(c.decision == AGAINST for c in named):
            counts.append(f"{against} against")
        parts.append(", ".join(counts))
    if len(judged) <= _MOST_SPELLED:
        parts += [spell(c) for c in judged]
    else:
        # Those that speak against the claim first, then those that are furthest from showing it.
        order = sorted(judged, key=lambda c: (c.decision != AGAINST, c.decision != OPEN, -(c.effect or 0.0)))
        parts += [spell(c) for c in order[: _MOST_SPELLED - 1]]
        parts.append(f"{len(judged) - _MOST_SPELLED + 1} more in the details")
    if barred:
        parts += [f"not judged: {spell(c)}" for c in barred[:_MOST_ASIDE]]
        parts += [f"{len(barred) - _MOST_ASIDE} more not judged"] if len(barred) > _MOST_ASIDE else []
    parts += [f"beside the claim: {spell(c)}" for c in beside[:_MOST_ASIDE]]
    return "; ".join(parts)


def _missing(named: Sequence[Comparison]) -> str:
    """What the open comparisons lack, by what it is; then the commands that fill it."""
    left = [c for c in named if c.decision == OPEN]
    every = {(s.place, s.label): s for c in named for s in c.arms}
    arms = list({(s.place, s.label): s for c in left for s in c.arms}.values())
    phrases = [
        f"{lack}: {_places([s for s in arms if s.lacks == lack], every.values())}"
        for lack in dict.fromkeys(s.lacks for s in arms if s.lacks)
    ]
    phrases += dict.fromkeys(c.blocked for c in left if c.blocked)
    phrases += [f"{c.name}: {c.more}" for c in left if c.usable and c.more][: 2 * _MOST_SPELLED]
    commands = dict.fromkeys(s.command for s in arms if s.lacks and s.command)
    needed: dict[str, dict[str, int]] = {}
    for c in left:
        for command in {s.command for s in c.arms if s.command and c.num_needed}:
            flags = needed.setdefault(command, {})
            flags[c.flag] = max(flags.get(c.flag, 0), c.num_needed or 0)
    commands = dict.fromkeys(command for command in commands if command not in needed) | {
        command + "".join(f" {flag} {number}" for flag, number in flags.items()): None
        for command, flags in needed.items()
    }
    if commands:
        phrases.append("run " + ", ".join(f"`{command}`" for command in commands))
    return "; ".join(phrases)


def _places(lacking: Iterable[Arm], arms: Iterable[Arm]) -> str:
    lacking, arms, found = list(lacking), list(arms), []
    for place in dict.fromkeys(s.place for s in lacking):
        own = [s.label for s in lacking if s.place == place]
        all_there = len(own) == sum(s.place == place for s in arms)
        found.append(place if all_there else f"{place} ({', '.join(own)})")
    return ", ".join(found)


def _notes(c: Comparison) -> list[str]:
    lacks = dict.fromkeys(s.lacks for s in c.arms if s.lacks)
    return [text for text in (c.note, c.blocked, *lacks, c.more if c.decision == OPEN else "") if text]


def _number(c: Comparison, value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if c.measure == PPL_RATIO else f"{value:.3g}"


def _sources(number: int, comparisons: Iterable[Comparison]) -> Iterable[Source]:
    for c in comparisons:
        for arm in c.arms:
            if arm.study and arm.trial_ids:
                yield Source(f"claim {number}: {c.name}", "effect", arm.study, " ".join(arm.trial_ids))
