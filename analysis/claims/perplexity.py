"""Claims about final perplexities under the paper's recipe (section 6.3, Tables 1 and 2): 1 to 5 and 8."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from analysis import paper
from analysis.claims.arms import Arm, Arms
from analysis.claims.comparisons import Comparison, below
from analysis.claims.verdicts import Claim, Findings
from analysis.records.names import place_name, variant_label
from analysis.records.studies import settings_with_records
from analysis.stats.contrasts import MARGIN_PPL, share_of_gain
from study.records.records import Setting
from trainables.recipes import COMPARED, VARIANTS

IMPROVED = tuple(name for name in VARIANTS if name != "baseline")


class Place(NamedTuple):
    """A corpus and a size."""

    corpus: str
    size: str

    def setting(self, variant: str) -> Setting:
        """The setting of a variant."""
        return Setting(*self, variant)


TABLE_1 = tuple(dict.fromkeys(Place(n.corpus, n.size or "") for n in paper.NUMBERS if n.table == "Table 1"))
"""Places of which the paper reports perplexities: not the large WikiText-2 networks (footnote 5)."""
SMALL, LARGE, WHOLE = Place("ptb", "small"), Place("ptb", "large"), Place("wikitext2", "small")
HALVES = tuple(Place(*one) for one in product(*COMPARED["table2"]))

RULE = """Means of ln(test perplexity) under the paper's recipe, paired over fresh seeds; only trials of full length
count. Supported: every comparison comes out, each with p <= .05 in the exact two-sided sign-flip test (all must, so
none is corrected). Contradicted: any comes out the other way with p <= .05 after Holm's adjustment over all of
them, run or not"""
EQUAL = f", or its two arms are shown to be equal within {MARGIN_PPL} perplexity at level .05 / their number"
ELSE = ". Else: not enough evidence. Comparisons that the claim does not name are shown and decide nothing."


def ratio(a: Arm, b: Arm) -> dict[int, float]:
    """a / b over the seeds that both have."""
    return {seed: a.values[seed] / b.values[seed] for seed in sorted(set(a.values) & set(b.values))}


def pair(a: Arm, b: Arm, *, family: int, named: bool = True, equal_is_against: bool = True) -> Comparison:
    """Compares a with b in the same place."""
    return below(
        f"{a.label} / {b.label}, {a.place}", a.values, b.values, arms=(a, b), family=family,
        equal_is_against=equal_is_against, named=named,
    )  # fmt: skip


def other_places(arms: Arms, named: tuple[Place, ...]) -> Iterator[Place]:
    """The other places with records, in the registries' order."""
    found = dict.fromkeys(Place(setting.corpus, setting.size) for setting in settings_with_records(arms.results))
    yield from (place for place in found if place not in named)


def _each_beats_the_baseline(arms: Arms) -> Findings:
    family = len(TABLE_1) * len(IMPROVED)
    return Findings(
        comparisons=[
            pair(
                arms.recipe(place.setting(v)),
                arms.recipe(place.setting("baseline")),
                family=family,
                named=place in TABLE_1,
            )
            for place in (*TABLE_1, *other_places(arms, TABLE_1))
            for v in IMPROVED
        ],
        remark=_default_trials(arms),
    )


def _default_trials(arms: Arms) -> str:
    """Ratios of the searches' default trials, the paper's recipe, where no fresh seed has ended."""
    found = []
    for place in TABLE_1:
        first: dict[str, tuple[int, float]] = {}
        for variant in VARIANTS:
            study = arms.study(place.setting(variant))
            if study is not None and not arms.recipe(place.setting(variant)).values:
                trials = study.search[(study.search["block"] == "default") & (study.search["status"] == "complete")]
                if len(trials):
                    first[variant] = (int(trials["max_epochs"].iloc[0]), float(trials["best_valid_ppl"].iloc[0]))
        length, base = first.pop("baseline", (0, math.nan))
        ratios = [f"{variant_label(v)} {ppl / base:.3f}" for v, (epochs, ppl) in first.items() if epochs == length]
        if ratios:
            found.append(f"{place_name(*place)}, {length} epochs: {', '.join(ratios)}")
    note = "not judged: validation perplexity as a ratio to VD-LSTM's, a single trial each"
    return f"{note}: {' and '.join(found)}" if found else ""


def _real_is_best(arms: Arms) -> Findings:
    others = [v for v in VARIANTS if v != "real"]
    return Findings(
        comparisons=[
            pair(
                arms.recipe(place.setting("real")), arms.recipe(place.setting(v)), family=len(TABLE_1) * len(others),
                named=place in TABLE_1, equal_is_against=False,
            )
            for place in (*TABLE_1, *other_places(arms, TABLE_1))
            for v in others
        ]
    )  # fmt: skip


def _al_helps_small_networks_more(arms: Arms) -> Findings:
    pairs = [(SMALL, LARGE), (SMALL, Place("ptb", "medium")), (Place("ptb", "medium"), LARGE)]
    pairs.append((WHOLE, Place("wikitext2", "medium")))
    comparisons = []
    for smaller, larger in pairs:
        used = [arms.recipe(place.setting(v)) for place in (smaller, larger) for v in ("al", "baseline")]
        comparisons.append(
            below(
                f"(AL / VD-LSTM, {used[0].place}) / (the same, {used[2].place})", ratio(*used[:2]), ratio(*used[2:]),
                arms=used, family=1, level=used[1].values, named=smaller == SMALL and larger == LARGE,
            )
        )  # fmt: skip
    return Findings(comparisons=comparisons)


def _re_beats_al_on_large_networks(arms: Arms) -> Findings:
    places = [LARGE, Place("ptb", "medium"), Place("wikitext2", "large"), Place("wikitext2", "medium")]
    return Findings(
        comparisons=[
            pair(arms.recipe(place.setting("re")), arms.recipe(place.setting("al")), family=1, named=place == LARGE)
            for place in places
        ]
    )


def _al_needs_little_data(arms: Arms) -> Findings:
    family = 2 + len(HALVES)
    al, re = (arms.recipe(WHOLE.setting(v)) for v in ("al", "re"))
    small_al, small_re = (arms.recipe(SMALL.setting(v)) for v in ("al", "re"))
    comparisons = [
        below(
            f"VD-LSTM+AL / (VD-LSTM+RE + {MARGIN_PPL}), {small_al.place}", small_al.values,
            {seed: ppl + MARGIN_PPL for seed, ppl in small_re.values.items()},
            arms=(small_al, small_re), family=family, equal_is_against=False,
        ),
        pair(re, al, family=family),
    ]  # fmt: skip
    for half in HALVES:
        half_al, half_re = (arms.recipe(half.setting(v)) for v in ("al", "re"))
        comparisons.append(
            below(
                f"(AL / RE, {half_al.place}) / (the same, {al.place})", ratio(half_al, half_re), ratio(al, re),
                arms=(half_al, half_re, al, re), family=family, level=half_re.values,
            )
        )  # fmt: skip
    return Findings(comparisons=comparisons)


def _most_of_the_gain_is_re(arms: Arms) -> Findings:
    base, re, real = (arms.recipe(LARGE.setting(v)) for v in ("baseline", "re", "real"))
    half_way = {s: math.sqrt(base.values[s] * real.values[s]) for s in sorted(set(base.values) & set(real.values))}
    comparisons = [
        pair(real, base, family=2),
        below(
            f"VD-LSTM+RE / half-way from VD-LSTM to VD-LSTM+REAL, {re.place}", re.values, half_way,
            arms=(re, base, real), family=2, equal_is_against=False,
        ),
    ]  # fmt: skip
    return Findings(comparisons=comparisons, remark=share_of_gain(base.values, re.values, real.values))


CLAIMS = (
    Claim(
        number=1,
        claim="AL, RE and REAL each beat the baseline, at every size and on both corpora.",
        where="section 6.3, Table 1",
        test=f"""AL, RE and REAL each against VD-LSTM in the five corpora and sizes of Table 1: 15 comparisons.
        {RULE}{EQUAL}{ELSE}""",
        compare=_each_beats_the_baseline,
    ),
    Claim(
        number=2,
        claim="REAL, both improvements together, is the best of the four.",
        where="section 6.3, Table 1",
        test=f"""REAL against each of VD-LSTM, AL and RE in the five corpora and sizes of Table 1: 15 comparisons.
        {RULE}. Equality does not contradict: the paper's own lead over the second best is below {MARGIN_PPL}
        perplexity in four of the five{ELSE}""",
        compare=_real_is_best,
    ),
    Claim(
        number=3,
        claim="The augmented loss helps small networks more than large ones.",
        where="section 6.3, Table 1",
        test=f"""The gain of AL over VD-LSTM on PTB, small against large: ln(AL / VD-LSTM) of the small networks minus
        that of the large ones, a difference of differences over the seeds that all four share. {RULE}{EQUAL} (at the
        perplexity of the small VD-LSTM){ELSE}""",
        compare=_al_helps_small_networks_more,
    ),
    Claim(
        number=4,
        claim="On large networks RE beats AL.",
        where="section 6.3, Table 1",
        test=f"RE against AL on PTB, large: one comparison. {RULE}{EQUAL}{ELSE}",
        compare=_re_beats_al_on_large_networks,
    ),
    Claim(
        number=5,
        claim="With little data the gain of AL approaches or passes that of RE; with more data it does not.",
        where="section 6.3, Tables 1 and 2",
        test=f"""Small networks, four comparisons: AL is better than RE plus {MARGIN_PPL} perplexity on PTB (it is not
        worse by as much); RE is better than AL on WikiText-2; and ln(AL / RE) is lower on each half of WikiText-2 than
        on the whole. {RULE}{EQUAL} (the first comparison excepted, which has the margin in it){ELSE}""",
        compare=_al_needs_little_data,
    ),
    Claim(
        number=8,
        claim="On large networks most of the improvement comes from RE alone.",
        where="sections 1, 6.3 and 7, Table 1",
        test=f"""PTB, large, two comparisons: REAL beats VD-LSTM; and RE lies below the point half-way from VD-LSTM to
        REAL on the scale of ln(perplexity), so that more than half of REAL's gain is RE's. {RULE}{EQUAL} (the first
        comparison alone){ELSE}""",
        compare=_most_of_the_gain_is_re,
    ),
)
