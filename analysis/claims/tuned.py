"""Claims about footnote 4's second session (9) and about variants tuned with equal budgets (11)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.claims.arms import Arm, Arms
from analysis.claims.comparisons import VALID_PPL_RATIO, Comparison, below, same
from analysis.claims.perplexity import ELSE, EQUAL, IMPROVED, RULE, SMALL, TABLE_1, other_places, pair
from analysis.claims.verdicts import Claim, Findings
from analysis.measures.sessions import sessions
from analysis.measures.tuning import tuning_debt
from analysis.records.names import variant_label
from analysis.records.sources import trial_keys
from analysis.records.studies import second_session_of
from analysis.stats.contrasts import MARGIN_PPL
from trainables.recipes import VARIANTS


def _second_session(arms: Arms) -> Findings:
    family, comparisons = len(VARIANTS), []
    for variant in VARIANTS:
        setting = SMALL.setting(variant)
        second, first = arms.second_session(setting), arms.recipe(setting)
        name = f"two sessions / one, {first.label}, {first.place}"
        if variant == "baseline":
            made = same(name, second.values, first.values, arms=(second, first), family=family)
        else:
            made = below(name, second.values, first.values, arms=(second, first), family=family)
        comparisons.append(made)
    return Findings(comparisons=[*comparisons, *_within_trials(arms)])


def _within_trials(arms: Arms) -> Iterator[Comparison]:
    """The best epoch of the second session against that of the first, by validation, in the very same trials."""
    for variant in VARIANTS:
        setting = SMALL.setting(variant)
        study = second_session_of(arms.results, setting)
        found = sessions(arms.results, study) if study is not None else None
        if study is None or found is None:
            continue
        arm = Arm(
            place=arms.recipe(setting).place,
            label=variant_label(variant),
            trials=trial_keys(study.study, found.trial_ids),
        )
        yield below(
            f"second session / first, {arm.label}, {arm.place}", found.second, found.first, arms=(arm,), family=1,
            measure=VALID_PPL_RATIO, named=False,
        )  # fmt: skip


def _gains_survive_tuning(arms: Arms) -> Findings:
    family = len(TABLE_1) * len(IMPROVED)
    comparisons = []
    for place in (*TABLE_1, *other_places(arms, TABLE_1)):
        base = arms.tuned(place.setting("baseline"))
        for variant in IMPROVED:
            comparisons.append(pair(arms.tuned(place.setting(variant)), base, family=family, named=place in TABLE_1))
    return Findings(comparisons=comparisons, remark=_tuning_debts(arms))


def _tuning_debts(arms: Arms) -> str:
    """The tuning debt of each variant against the baseline, where both are tuned."""
    found = []
    for place in (*TABLE_1, *other_places(arms, TABLE_1)):
        for variant in IMPROVED:
            settings = (place.setting(variant), place.setting("baseline"))
            recipe, tuned = (
                [arms.recipe(setting) for setting in settings],
                [arms.tuned(setting) for setting in settings],
            )
            if any(arm.lacks for arm in (*recipe, *tuned)):
                continue
            debt = tuning_debt(*(arm.values for arm in (*recipe, *tuned)))
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
        paper's recipe, and only where both arms had searches of as many trials and epochs. {RULE}{EQUAL}{ELSE} The
        intervals hold for the configurations that these searches found; other searches may find others.""",
        compare=_gains_survive_tuning,
    ),
)
