"""Section 6.4: how much probability the networks give to ``<unk>`` and to frequent words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.measures.settings import shortfall
from analysis.measures.word_mass import MEASURES, NUM_FREQUENT, TOGETHER, Comparison, Masses, comparisons
from analysis.records.load import Results
from analysis.records.names import place_title, variant_label
from analysis.records.sources import TrialKey, trial_keys
from analysis.stats.contrasts import fewest_seeds, holm
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.table import (
    Column,
    Measured,
    Row,
    Table,
    interval,
    is_missing,
    number,
    p_value,
    plain,
    ratio,
    register,
)
from analysis.tables.table4 import COMPARED
from trainables.data.phrases import NAMED_WORDS

_WHOLE, _ELSEWHERE = "mass", "elsewhere"


@register("word_mass")
def word_mass(results: Results) -> Table:
    """The probability that the baseline and REAL give to ``<unk>`` and to frequent words over a whole split."""
    b, a = COMPARED
    columns = (
        Column(title="Word", cell=plain("word"), left=True),
        Column(title="Configuration", cell=plain("configuration"), left=True),
        Column(title="In the text", cell=number("share", ".2%")),
        Column(title=variant_label(b), cell=number("baseline_probability", ".2%")),
        Column(title=variant_label(a), cell=number("real_probability", ".2%")),
        Column(title="Ratio", cell=interval("mass_ratio", ".3f", missing="-")),
        Column(title="p, Holm", cell=p_value("mass_p_holm")),
        Column(title="Ratio elsewhere", cell=interval("elsewhere_ratio", ".3f", missing="-")),
        Column(title="p, Holm, elsewhere", cell=p_value("elsewhere_p_holm")),
        Column(title="Seeds", cell=number("seeds", "d")),
    )
    return Table(
        name="word_mass",
        title="Probability of <unk> and of frequent words",
        caption=(
            "Section 6.4 finds lower probabilities of <unk> and of words such as a, an and the with "
            f"{variant_label(a)} than with {variant_label(b)}. Mean probability of a word over all positions of the "
            "split, beside its share of the text; the ratio of the two networks, paired over seeds on the logarithm, "
            f"with its {CONFIDENCE:.0%} t-interval. Two networks that both match the word's share of the text "
            "have a ratio near 1; elsewhere: over the positions where the word is not the next one. p: exact two-sided "
            "sign-flip test for the four words that the section names, adjusted by Holm over them, which can fall "
            f"below .05 from {fewest_seeds(len(NAMED_WORDS))} seeds on. "
            f"{TOGETHER.capitalize()}: the {NUM_FREQUENT} most frequent of the training split but <unk>."
        ),
        rows=tuple(row for one in comparisons(results, a, b) for row in _mass_rows(one)),
        columns=columns,
        narrow=(columns[0], columns[2], *columns[5:8], columns[9]),
    )


def _mass_rows(one: Comparison) -> Iterator[Row]:
    words = one.words()
    found = {measure: [one.contrast(word, measure) for word in words["word"]] for measure in MEASURES}
    # The four words that the paper names are the family of tests; the others have intervals alone.
    named = words["word"].isin(NAMED_WORDS).tolist()
    p_values = {m: [c.p_value if c and own else None for c, own in zip(found[m], named, strict=True)] for m in MEASURES}
    adjusted = {measure: holm(p_values[measure]) for measure in MEASURES}
    heading = f"{place_title(one.corpus, one.size)}, {one.split}"
    for i, (word, rank, share) in enumerate(words.itertuples(index=False)):
        name = f"{one.corpus}/{one.size}/{one.split}/{one.configuration}/{word}"
        whole = found[MEASURES[0]][i]
        data: dict[str, Any] = {
            "corpus": one.corpus,
            "size": one.size,
            "split": one.split,
            "configuration": one.configuration,
            "word": word,
            "frequency_rank": None if is_missing(rank) or pd.isna(rank) else int(rank),
            "share": Measured(float(share), _trials(one.b, word, one.b.trials["seed"])),
            "baseline_probability": _mean(one.b, word),
            "real_probability": _mean(one.a, word),
        }
        for key, measure in zip((_WHOLE, _ELSEWHERE), MEASURES, strict=True):
            contrasted = found[measure][i]
            seeds = contrasted.seeds if contrasted else ()
            behind = _trials(one.a, word, seeds) + _trials(one.b, word, seeds)
            data |= {
                f"{key}_ratio": ratio(contrasted, behind),
                f"{key}_p": Measured(p_values[measure][i], behind),
                f"{key}_p_holm": Measured(adjusted[measure][i], behind),
            }
        data["seeds"] = Measured(whole.num_pairs if whole else 0, data[f"{_WHOLE}_ratio"].trials)
        notes = [f"no interval: {whole.reason}"] if whole and whole.reason else []
        yield Row(
            name=name,
            data=data,
            section=heading,
            notes=(*notes, *shortfall(one.b.study, one.b.study.confirm)),
            dim=whole is None,
        )


def _trials(masses: Masses, word: str, seeds: Collection[int]) -> tuple[TrialKey, ...]:
    """The trials with these seeds that recorded the word."""
    own = masses.trials[(masses.trials["word"] == word) & masses.trials["seed"].isin(list(seeds))]
    return trial_keys(masses.study.study, sorted(own["trial_id"]))


def _mean(masses: Masses, word: str) -> Measured:
    values = masses.by_seed(word, MEASURES[0])
    return Measured(float(np.mean(list(values.values()))) if values else None, _trials(masses, word, values))
