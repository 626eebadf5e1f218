"""The verdict of a claim from its comparisons, with effects and what is missing in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from analysis.claims.arms import Arm, Arms
from analysis.claims.comparisons import AGAINST, OPEN, SHOWN, Comparison, settle

SUPPORTED, CONTRADICTED, NOT_ENOUGH = "supported", "contradicted", "not enough evidence"
_MOST_SPELLED = 4  # comparisons that the line of the effect spells out
_MOST_ASIDE = 2


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The comparisons of a claim's test."""

    comparisons: Sequence[Comparison]
    remark: str = ""
    """A further number to show; the verdict does not depend on it."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim and its test."""

    number: int
    claim: str
    """The statement, in our words."""
    where: str
    """Section or table of the paper."""
    test: str
    """The test, stated before the data: what is compared, and which rule gives which verdict."""
    compare: Callable[[Arms], Findings]


@dataclass(frozen=True, kw_only=True)
class Verdict(Claim):
    """A claim and what the records say about it."""

    verdict: str
    """``SUPPORTED``, ``CONTRADICTED`` or ``NOT_ENOUGH``."""
    effect: tuple[str, ...]
    """The effects found, in phrases."""
    missing: tuple[str, ...]
    """Missing trials and the seeds or trials that would decide the claim, in phrases; may be empty."""
    comparisons: tuple[Comparison, ...]
    """Made or missing."""


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
    remark = [findings.remark] if findings.remark else []
    return Verdict(
        **vars(claim) | {"test": " ".join(claim.test.split())},
        verdict=verdict,
        effect=(*_effect(comparisons), *remark) or ("nothing to compare yet",),
        missing=tuple(_missing(named)) if verdict == NOT_ENOUGH else (),
        comparisons=tuple(comparisons),
    )


def spell(c: Comparison) -> str:
    """One comparison in a few words: its name, effect, interval, p-value and size."""
    found = f"{c.name} = {interval_text(c)}"
    if c.p is not None:
        found += f", p = {c.p:.2g}" if c.p >= 0.001 else ", p < .001"
    return f"{found}, {c.num} {c.unit if c.num != 1 else c.unit.removesuffix('s')}"


def interval_text(c: Comparison) -> str:
    """The effect and in brackets its interval, where there is one; empty without an effect."""
    if c.effect is None:
        return ""
    form = c.measure.form
    return f"{c.effect:{form}}" + (f" ({c.low:{form}} to {c.high:{form}})" if None not in (c.low, c.high) else "")


def _effect(comparisons: Sequence[Comparison]) -> list[str]:
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
        # Against the claim first, then open, then the largest effect.
        order = sorted(judged, key=lambda c: (c.decision != AGAINST, c.decision != OPEN, -(c.effect or 0.0)))
        parts += [spell(c) for c in order[: _MOST_SPELLED - 1]]
        parts.append(f"{len(judged) - _MOST_SPELLED + 1} more in the details")
    if barred:
        parts += [f"not judged: {spell(c)}" for c in barred[:_MOST_ASIDE]]
        parts += [f"{len(barred) - _MOST_ASIDE} more not judged"] if len(barred) > _MOST_ASIDE else []
    parts += [f"beside the claim: {spell(c)}" for c in beside[:_MOST_ASIDE]]
    return parts


def _missing(named: Sequence[Comparison]) -> list[str]:
    """Reasons why comparisons are open, then the commands that run the missing trials."""
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
    return phrases


def _places(lacking: Iterable[Arm], arms: Iterable[Arm]) -> str:
    lacking, arms, found = list(lacking), list(arms), []
    for place in dict.fromkeys(s.place for s in lacking):
        own = [s.label for s in lacking if s.place == place]
        all_there = len(own) == sum(s.place == place for s in arms)
        found.append(place if all_there else f"{place} ({', '.join(own)})")
    return ", ".join(found)
