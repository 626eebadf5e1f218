"""Claims about the same networks trained otherwise: footnote 4's second session (9), and tuned alike (11)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.claims.arms import Side, Sides
from analysis.claims.comparisons import Comparison, below, same
from analysis.claims.perplexity import ELSE, EQUAL, IMPROVED, RULE, SMALL, TABLE_1, other_places, pair
from analysis.claims.verdicts import Claim, Findings
from analysis.measures.sessions import sessions
from analysis.measures.settings import second_session_of
from analysis.measures.tuning import tuning_debt
from analysis.stats.contrasts import MARGIN_PPL
from trainables.recipes import VARIANTS


def _second_session(sides: Sides) -> Findings:
    family, comparisons = len(VARIANTS), []
    for variant in VARIANTS:
        cell = SMALL.cell(variant)
        second, first = sides.second_session(cell), sides.recipe(cell)
        name = f"two sessions / one, {first.label}, {first.place}"
        if variant == "baseline":
            made = same(name, second.values, first.values, sides=(second, first), family=family)
        else:
            made = below(name, second.values, first.values, sides=(second, first), family=family)
        comparisons.append(made)
    return Findings(comparisons=[*comparisons, *_within_trials(sides)])


def _within_trials(sides: Sides) -> Iterator[Comparison]:
    """The best epoch of the second session against that of the first, by validation, in the very same trials."""
    for variant in VARIANTS:
        cell = SMALL.cell(variant)
        study = second_session_of(sides.results, cell)
        found = sessions(sides.results, study) if study is not None else None
        if study is None or found is None:
            continue
        side = Side(
            place=sides.recipe(cell).place, label=VARIANTS[variant].label, study=study.study, trial_ids=found.trial_ids
        )
        yield below(
            f"second session / first, {side.label}, {side.place}", found.second, found.first, sides=(side,), family=1,
            measure="ratio of validation perplexities", named=False,
        )  # fmt: skip


def _gains_survive_tuning(sides: Sides) -> Findings:
    family = len(TABLE_1) * len(IMPROVED)
    comparisons = []
    for place in (*TABLE_1, *other_places(sides, TABLE_1)):
        base = sides.tuned(place.cell("baseline"))
        for variant in IMPROVED:
            comparisons.append(pair(sides.tuned(place.cell(variant)), base, family=family, named=place in TABLE_1))
    return Findings(comparisons=comparisons, remark=_debts(sides))


def _debts(sides: Sides) -> str:
    """The part of each lead that goes when both are tuned, where both are."""
    found = []
    for place in (*TABLE_1, *other_places(sides, TABLE_1)):
        for variant in IMPROVED:
            cells = (place.cell(variant), place.cell("baseline"))
            recipe, tuned = [sides.recipe(cell) for cell in cells], [sides.tuned(cell) for cell in cells]
            if any(side.lacks for side in (*recipe, *tuned)):
                continue
            debt = tuning_debt(*(side.values for side in (*recipe, *tuned)))
            if debt is not None:
                sure = debt.low is not None and debt.high is not None
                interval = f" ({debt.low:+.3f} to {debt.high:+.3f})" if sure else ""
                found.append(f"{recipe[0].label}, {recipe[0].place} {debt.mean:+.3f}{interval}")
    return f"tuning debt on ln(perplexity): {', '.join(found)}" if found else ""


CLAIMS = (
    Claim(
        number=9,
        claim="A second training session improves AL, RE and REAL, but not the baseline.",
        where="section 6.3, footnote 4",
        test=f"""Small networks on PTB, with a second session of the same length from the weights at the end of the
        first, against one session, of the same seeds: four comparisons. AL, RE and REAL must be better; VD-LSTM must be
        equal: the 95 % interval of its difference within {MARGIN_PPL} perplexity. {RULE}{EQUAL} (AL, RE and REAL), or
        the whole interval of VD-LSTM's difference lies outside {MARGIN_PPL} perplexity{ELSE}""",
        compare=_second_session,
    ),
    Claim(
        number=11,
        claim="The gains of AL, RE and REAL survive when the baseline is tuned with an equal budget.",
        where="ours; the paper does not say how its baseline was tuned",
        test=f"""As claim 1, with the configuration of lowest validation perplexity of a finished search in place of the
        paper's recipe, and only where both sides had searches of as many trials and epochs. {RULE}{EQUAL}{ELSE} The
        intervals hold for the configurations that these searches found; other searches may find others.""",
        compare=_gains_survive_tuning,
    ),
)
