"""One comparison of a claim's test, and its decision: shown, against or open.

A claim holds if every comparison that it names does. Hence two rules of multiplicity:

* To support it, each comparison is tested at level .05 with no correction (an intersection-union test: Berger, 1982).
  Were one of them untrue, the chance that all come out is no larger than the chance that this one does.
* To contradict it, any one comparison would do. So a difference the other way must hold after Holm's adjustment, and
  equality is shown with intervals of confidence 1 - .05 / m, where m counts all comparisons that the claim names, run
  or not: what has not been run yet must not make the rest look more certain.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import scipy.stats

from analysis.claims.arms import Arm
from analysis.records.sources import TrialKey
from analysis.stats.contrasts import MARGIN_PPL, Contrast, contrast, fewest_seeds, holm, seeds_needed
from analysis.stats.intervals import t_quantile

ALPHA = 0.05
SHOWN, AGAINST, OPEN, ASIDE = "shown", "against", "open", "aside"
_MOST = 1_000  # seeds beyond which no number is given


@dataclass(frozen=True)
class Measure:
    """The kind of an effect."""

    name: str
    no_difference: float | None = 1.0
    """The effect that means no difference; None where no value does."""
    form: str = ".3f"
    """Format of an effect."""


PPL_RATIO = Measure("ratio of test perplexities")
VALID_PPL_RATIO = Measure("ratio of validation perplexities")
PROBABILITY_RATIO = Measure("ratio of mean probabilities")
CHANCE = Measure("chance", 0.5, ".3g")
DISTANCE = Measure("distance", None, ".3g")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison: its effect, and its decision on the claim."""

    name: str
    measure: Measure = PPL_RATIO
    unit: str = "seeds"
    """Unit of ``num``."""
    named: bool = True
    """Whether the claim names it; others are shown and decide nothing."""
    arms: tuple[Arm, ...] = ()
    num: int = 0
    effect: float | None = None
    low: float | None = None
    """Ends of the 95 % interval of the effect."""
    high: float | None = None
    p: float | None = None
    """Two-sided."""
    p_holm: float | None = None
    opposite: bool = False
    """Whether the effect goes against the claim."""
    decision: str = OPEN
    note: str = ""
    more: str = ""
    """Estimate of the seeds or trials that would decide it; may be empty."""
    num_needed: int | None = None
    """In all, as the value of ``flag``."""
    flag: str = "--seeds"
    """Of the command that runs them."""
    blocked: str = ""
    """Why it must not be judged, other than what its arms lack."""

    @property
    def usable(self) -> bool:
        """Whether it may be judged."""
        return not self.blocked and not any(arm.lacks for arm in self.arms)

    @property
    def notes(self) -> tuple[str, ...]:
        """How it came out, why it may not be judged, and how many seeds or trials would decide it."""
        lacks = dict.fromkeys(arm.lacks for arm in self.arms)
        return tuple(filter(None, (self.note, self.blocked, *lacks, self.more if self.decision == OPEN else "")))

    @property
    def trials(self) -> tuple[TrialKey, ...]:
        """The trials of its arms."""
        return tuple(key for arm in self.arms for key in arm.trials)


def below(
    name: str,
    a: Mapping[int, float],
    b: Mapping[int, float],
    *,
    arms: Sequence[Arm],
    family: int,
    level: Mapping[int, float] | None = None,
    equal_is_against: bool = True,
    in_ppl: bool = True,
    measure: Measure = PPL_RATIO,
    named: bool = True,
) -> Comparison:
    """Compares a with b, paired over their seeds; the claim is that a lies below b.

    Args:
        name: of the comparison.
        a: seed -> value.
        b: seed -> value.
        arms: where the values come from.
        family: comparisons that the claim names.
        level: perplexities at whose level the ratio is turned into a difference; b itself by default. To be given
            where a and b are ratios.
        equal_is_against: whether equality within 1.0 perplexity contradicts the claim.
        in_ppl: whether the values are perplexities, or ratios of them, so that the margin applies.
        measure: what a / b is.
        named: whether the claim names this comparison.
    """
    arms = tuple(arms)
    made = Comparison(name=name, measure=measure, named=named, arms=arms, blocked=mixed(arms))
    found, strict = contrast(a, b), contrast(a, b, confidence=1 - ALPHA / family)
    if found is None or strict is None:
        return replace(made, more="seeds that all arms share") if made.usable else made
    made = _with_effect(made, found)
    if not named or not made.usable:
        return made
    scale = _level(level, found)
    if found.p_value is not None and found.p_value <= ALPHA and found.mean < 0:
        small = in_ppl and _inside(found, scale)
        return replace(made, decision=SHOWN, note=f"by less than {MARGIN_PPL} perplexity" if small else made.note)
    if equal_is_against and _inside(strict, scale):
        return replace(made, decision=AGAINST, note=f"equal within {MARGIN_PPL} perplexity")
    alpha = ALPHA if found.mean < 0 else ALPHA / family
    needed = [_seeds_for_difference(found, alpha)]
    if equal_is_against:
        needed.append(_seeds_for_equality(found, scale, ALPHA / family))
    return _with_needed(made, found, needed)


def same(name: str, a: Mapping[int, float], b: Mapping[int, float], *, arms: Sequence[Arm], family: int) -> Comparison:
    """Compares a with b, paired over their seeds; the claim is that they are equal within 1.0 perplexity.

    Against the claim is a difference of which the whole interval, of confidence 1 - .05 / ``family``, lies outside.
    """
    arms = tuple(arms)
    made = Comparison(name=name, arms=arms, blocked=mixed(arms))
    found, strict = contrast(a, b), contrast(a, b, confidence=1 - ALPHA / family)
    if found is None or strict is None:
        return replace(made, more="seeds that all arms share") if made.usable else made
    # The sign-flip p tests "no difference", which is not the claim.
    made = replace(_with_effect(made, found), p=None, opposite=False)
    if not made.usable:
        return made
    # A second session that is no better keeps the best weights of the first: every difference is zero.
    unchanged = found.sd == 0.0 and found.mean == 0.0 and found.num_pairs >= fewest_seeds(1)
    if found.equivalent or unchanged:
        return replace(made, decision=SHOWN, note=f"equal within {MARGIN_PPL} perplexity")
    low, high = strict.difference_low, strict.difference_high
    if low is not None and high is not None and (low > MARGIN_PPL or high < -MARGIN_PPL):
        return replace(made, decision=AGAINST, note=f"differs by more than {MARGIN_PPL} perplexity")
    return _with_needed(made, found, [_seeds_for_equality(found, float(found.level or math.nan), ALPHA)])


def mixed(arms: Sequence[Arm]) -> str:
    """The first property in which arms of one place differ; empty if they can be compared."""
    for place in dict.fromkeys(arm.place for arm in arms):
        own = [arm for arm in arms if arm.place == place]
        for what in dict.fromkeys(key for arm in own for key in arm.made_with):
            found = {arm.made_with[what] for arm in own if arm.made_with.get(what) is not None}
            if len(found) > 1:
                names = ", ".join(f"{arm.label} {arm.made_with.get(what)}" for arm in own)
                return f"{place}: not the same {what} ({names})"
    return ""


def settle(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Adjusts the p-values of a claim's comparisons (Holm) and decides which are against it."""
    named = [c for c in comparisons if c.named]
    tested = [c.p is not None and c.usable for c in named]
    adjusted = holm([c.p if usable else 1.0 for c, usable in zip(named, tested, strict=True)])
    by_name = {c.name: p for c, p, usable in zip(named, adjusted, tested, strict=True) if usable}
    return [_decided(c, by_name.get(c.name)) if c.named else replace(c, decision=ASIDE) for c in comparisons]


def _decided(comparison: Comparison, p_holm: float | None) -> Comparison:
    comparison = replace(comparison, p_holm=p_holm)
    if comparison.opposite and comparison.decision == OPEN and p_holm is not None and p_holm <= ALPHA:
        return replace(comparison, decision=AGAINST, note="the other way", more="", num_needed=None)
    return comparison


def _level(level: Mapping[int, float] | None, found: Contrast) -> float:
    if level is None:
        return float(found.level or math.nan)
    return math.exp(math.fsum(math.log(level[seed]) for seed in found.seeds) / len(found.seeds))


def _inside(found: Contrast, level: float) -> bool:
    if found.low is None or found.high is None:
        return False
    return level * math.expm1(found.low) > -MARGIN_PPL and level * math.expm1(found.high) < MARGIN_PPL


def _with_effect(made: Comparison, found: Contrast) -> Comparison:
    return replace(
        made, num=found.num_pairs, effect=found.ratio, low=found.ratio_low, high=found.ratio_high, p=found.p_value,
        opposite=found.mean > 0, note=found.reason or "",
    )  # fmt: skip


def _seeds_for_difference(found: Contrast, alpha: float) -> int | None:
    """Seeds for 80 % power at this level, from the mean and spread found; None if more than ``_MOST``."""
    if not found.sd or not found.mean:
        return fewest_seeds(1, alpha=alpha) if found.sd is None else None
    needed = seeds_needed(found.mean, found.sd, alpha=alpha)
    return None if needed is None or needed > _MOST else max(needed, fewest_seeds(1, alpha=alpha))


def _seeds_for_equality(found: Contrast, level: float, alpha: float) -> int | None:
    """Seeds for 80 % power to find the interval within the margin, from the mean and spread found; None if none."""
    room = math.log1p(MARGIN_PPL / level) - abs(found.mean)
    if found.sd is None or room <= 0:
        return None
    z = float(scipy.stats.norm.ppf(0.9))  # two-sided

    def enough(num: int) -> bool:
        return (t_quantile(1 - alpha, num - 1) + z) * (found.sd or 0.0) / math.sqrt(num) < room

    return None if not enough(_MOST) else 2 + bisect.bisect_left(range(2, _MOST), True, key=enough)


def _with_needed(made: Comparison, found: Contrast, needed: Sequence[int | None]) -> Comparison:
    """Adds how many seeds would decide it, from the mean and spread found."""
    counts = [count for count in needed if count is not None]
    if not counts:
        return replace(made, more=f"more than {_MOST:,} seeds")
    total = max(min(counts), found.num_pairs + 1)
    about = "at least" if found.sd is None else "about"
    return replace(made, more=f"{about} {total} seeds in all, {found.num_pairs} so far", num_needed=total)
