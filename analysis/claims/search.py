"""Claims tested on the searches' random draws: moderate changes of tau and alpha (6), and the paper's dropout numbers
as keep probabilities (12)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.claims.arms import Arm, Arms
from analysis.claims.comparisons import AGAINST, ALPHA, CHANCE, SHOWN, VALID_PPL_RATIO, Comparison, mixed
from analysis.claims.perplexity import ELSE, TABLE_1, Place, other_places
from analysis.claims.verdicts import Claim, Findings
from analysis.measures.settings import shortfall
from analysis.records.names import place_name
from analysis.records.sources import keys_of
from analysis.records.trials import diverged
from analysis.stats.contrasts import MARGIN_PPL
from analysis.stats.draws import draws_for_rank_test, step_costs, stratified_rank_test
from trainables.config import paper_config
from trainables.recipes import CORPORA, SIZES, VARIANTS

WINDOW = 0.1
"""Draws whose drop_prob is nearer than this to a reading count as near it."""
MIN_NEAR = 4
"""Draws near each reading below which a place is not judged."""
MIN_DRAWS = 40
"""Random draws that usually suffice for ``MIN_NEAR``: a window holds a tenth of them or more."""
AUGMENTED = tuple(name for name, variant in VARIANTS.items() if variant.augmented_loss)
STEPS = {"tau": "tau", "gamma": "alpha at constant tau"}
DRAWN = tuple(
    place for place in TABLE_1 if CORPORA[place.corpus].keep_prob[place.size] != 0.5
)  # where the two readings of the dropout number differ


def _random_block(arms: Arms, place: Place, variant: str) -> tuple[Arm, pd.DataFrame]:
    """The random draws of a setting that were trained to the end or diverged, with ``loss``, and the arm they make."""
    setting = place.setting(variant)
    study, arm = arms.study(setting), replace(arms.recipe(setting), values={}, trials=())
    if study is None:
        return arm, arms.results.trials.iloc[:0].assign(loss=[])
    drawn = study.search[study.search["block"] == "random"]
    drawn = drawn[((drawn["status"] == "complete") & drawn["best_valid_ppl"].notna()) | diverged(drawn)]
    loss = np.log(drawn["best_valid_ppl"].astype(float)).where(drawn["status"] == "complete", np.inf)
    lacks = "no random draw has ended" if drawn.empty else ", ".join(shortfall(study, drawn))
    return replace(arm, lacks=lacks, trials=keys_of(drawn)), drawn.assign(loss=loss)


def _moderate_steps_do_no_harm(arms: Arms) -> Findings:
    comparisons = []
    for place in (*TABLE_1, *other_places(arms, TABLE_1)):
        blocks = [_random_block(arms, place, variant) for variant in AUGMENTED]
        used = tuple(arm for arm, _ in blocks)
        draws = pd.concat([drawn for _, drawn in blocks if len(drawn)] or [blocks[0][1]])
        recipe = paper_config(AUGMENTED[0], place.size, place.corpus) if _known(place) else None
        costs = step_costs(draws, {name: float(getattr(recipe, name)) for name in STEPS}) if recipe else {}
        for name, words in STEPS.items():
            made = Comparison(
                name=f"{words} a moderate step off the recipe / near it, {place_name(*place)}",
                measure=VALID_PPL_RATIO, unit="random draws", named=place in TABLE_1, arms=used,
                num=len(draws), blocked=mixed(used), flag="--num-samples",
            )  # fmt: skip
            if name not in costs:
                comparisons.append(_with_draws(made, max(MIN_DRAWS, 2 * made.num)) if made.usable else made)
                continue
            cost, level = costs[name], _level(arms, place, draws)
            (low, high), strict = cost.interval(), cost.interval(1 - ALPHA / (len(TABLE_1) * len(STEPS)))
            made = replace(
                made, effect=math.exp(cost.mean), low=math.exp(low), high=math.exp(high),
                note=f"{cost.num_near} draws near, {cost.num_moderate} a moderate step off",
            )  # fmt: skip
            if made.usable and level * math.expm1(high) < MARGIN_PPL:
                made = replace(made, decision=SHOWN)
            elif made.usable and level * math.expm1(strict[0]) > MARGIN_PPL:
                made = replace(made, decision=AGAINST)
            elif made.usable:
                room = math.log1p(MARGIN_PPL / level) - cost.mean
                made = _with_draws(made, len(draws) * ((high - cost.mean) / room) ** 2 if room > 0 else None)
            comparisons.append(made)
    return Findings(comparisons=comparisons)


def _level(arms: Arms, place: Place, draws: pd.DataFrame) -> float:
    """Validation perplexity of the recipe in this place: of the searches' first trials, else the best draws."""
    levels = []
    for variant in AUGMENTED:
        study = arms.study(place.setting(variant))
        if study is not None:
            done = study.search[study.search["status"] == "complete"]
            recipe = done[done["block"] == "default"]
            levels += [float(ppl) for ppl in (done if recipe.empty else recipe)["best_valid_ppl"].dropna().nsmallest(1)]
    return math.exp(math.fsum(map(math.log, levels)) / len(levels))


def _dropout_numbers_are_keep_probabilities(arms: Arms) -> Findings:
    comparisons = []
    for place in (*DRAWN, *other_places(arms, TABLE_1)):
        keep = CORPORA[place.corpus].keep_prob.get(place.size, 0.5) if _known(place) else 0.5
        if keep == 0.5:
            continue
        blocks = [_random_block(arms, place, variant) for variant in VARIANTS]
        fit = [(arm, drawn) for arm, drawn in blocks if not arm.lacks]
        used = tuple(arm for arm, _ in fit or blocks)
        kept, dropped = (
            [drawn.loc[(drawn["drop_prob"] - reading).abs() < WINDOW, "loss"].to_numpy() for _, drawn in fit or blocks]
            for reading in (1.0 - keep, keep)
        )
        near = sum(map(len, (*kept, *dropped)))
        made = Comparison(
            name=f"chance that drop_prob near {1 - keep:.3g} beats {keep:.3g}, {place_name(*place)}",
            measure=CHANCE, unit="random draws", named=place in DRAWN, arms=used, num=near, blocked=mixed(used),
            flag="--num-samples",
        )  # fmt: skip
        found = stratified_rank_test(list(zip(kept, dropped, strict=True)))
        if found is None or min(sum(map(len, kept)), sum(map(len, dropped))) < MIN_NEAR:
            comparisons.append(_with_draws(made, max(MIN_DRAWS, 2 * made.num)) if made.usable else made)
            continue
        chance, p_value = found
        medians = [float(np.exp(np.median(np.concatenate(group)))) for group in (kept, dropped)]
        made = replace(
            made, effect=chance, p=p_value, opposite=chance < 0.5,
            note=f"median validation perplexity {medians[0]:.1f} against {medians[1]:.1f}; a rank test has no interval",
        )  # fmt: skip
        if made.usable and made.named:
            if p_value <= ALPHA and chance > 0.5:
                made = replace(made, decision=SHOWN)
            else:
                needed, all_draws = draws_for_rank_test(chance), sum(len(drawn) for _, drawn in fit)
                made = _with_draws(made, needed * all_draws / near if needed else None)
        comparisons.append(made)
    return Findings(comparisons=comparisons)


def _with_draws(made: Comparison, draws: float | None) -> Comparison:
    """Adds how many random draws it would take, and the searches that have as many: half of their trials are random."""
    if draws is None:
        return replace(made, more="more random draws than can be told")
    total = math.ceil(draws)
    return replace(
        made, more=f"about {total} random draws in all", num_needed=2 * math.ceil(total / len(made.arms)) + 1
    )


def _known(place: Place) -> bool:
    return place.corpus in CORPORA and place.size in SIZES


CLAIMS = (
    Claim(
        number=6,
        claim="Moderate changes of tau and alpha do no harm.",
        where="appendix A",
        test=f"""In the random blocks of AL and REAL, draws whose tau lies a moderate step (a factor from 1.41 to 2,
        either way) off the recipe's against draws nearer to it; the same for gamma, which is alpha at constant tau;
        in the five corpora and sizes of Table 1: ten comparisons of ln(best validation perplexity) by least squares
        with the other searched parameters as covariates. Only draws trained in full count; one that diverged counts
        as the worst of its study. Supported: the upper end of every 95 % interval is below {MARGIN_PPL} perplexity, at
        the level of the recipe. Contradicted: the lower end of any, at confidence 1 - .05 / 10, is above it{ELSE}""",
        compare=_moderate_steps_do_no_harm,
    ),
    Claim(
        number=12,
        claim='The paper\'s "dropout probabilities" are probabilities to keep a unit.',
        where="appendix A, as this project reads it",
        test=f"""In the random blocks, draws with drop_prob nearer than {WINDOW} to 1 - p against draws as near to p,
        for the paper's p: PTB small and large, WikiText-2 small and medium (PTB medium has p = .5). Best validation
        perplexities of trials of full length, the four variants together, by a rank test permuted within each study; a
        draw that diverged has the last rank. The authors will have chosen what works: supported if the draws near 1 - p
        are better in all four, each with p <= .05; contradicted if those near p are better in any, with p <= .05 after
        Holm's adjustment{ELSE}""",
        compare=_dropout_numbers_are_keep_probabilities,
    ),
)
