"""Section 6.4: how much probability the networks give to ``<unk>`` and to frequent words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.measures.settings import shortfall
from analysis.measures.word_mass import MEASURES, NUM_FREQUENT, TOGETHER, Comparison, comparisons
from analysis.records.load import Results
from analysis.records.names import place_title, variant_label
from analysis.stats.contrasts import Contrast, fewest_seeds, holm
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.table import Column, Row, Source, Table, interval, is_missing, number, p_value, plain, register
from analysis.tables.table4 import COMPARED
from trainables.data.phrases import NAMED_WORDS

_WHOLE, _ELSEWHERE = "mass", "elsewhere"


@register("word_mass")
def word_mass(results: Results) -> Table:
    """The probability that the baseline and REAL give to ``<unk>`` and to frequent words over a whole split."""
    b, a = COMPARED
    rows: list[Row] = []
    sources: list[Source] = []
    for one in comparisons(results, a, b):
        for row, behind in _mass_rows(one):
            rows.append(row)
            sources += behind
    columns = (
        Column(title="Word", text=plain("word"), left=True),
        Column(title="Configuration", text=plain("configuration"), left=True),
        Column(title="In the text", text=number("share", ".2%")),
        Column(title=variant_label(b), text=number("baseline_probability", ".2%")),
        Column(title=variant_label(a), text=number("real_probability", ".2%")),
        Column(title="Ratio", text=interval("mass_ratio", ".3f", missing="-")),
        Column(title="p, Holm", text=p_value("mass_p_holm")),
        Column(title="Ratio elsewhere", text=interval("elsewhere_ratio", ".3f", missing="-")),
        Column(title="p, Holm, elsewhere", text=p_value("elsewhere_p_holm")),
        Column(title="Seeds", text=number("seeds", "d")),
    )
    return Table(
        name="word_mass",
        title="Probability of <unk> and of frequent words",
        caption=(
            "Section 6.4 finds lower probabilities of <unk> and of words such as a, an and the with "
            f"{variant_label(a)} than with {variant_label(b)}. Mean probability of a word over all positions of the "
            "split, beside its share of the text; the ratio of the two networks, paired over seeds on the logarithm, "
            f"with its {CONFIDENCE:.0%} t-interval. A network that gives each word its due has ratios near 1 over all "
            "positions; elsewhere: over the positions where the word is not the next one. p: exact two-sided "
            "sign-flip test for the four words that the section names, adjusted by Holm over them, which can fall "
            f"below .05 from {fewest_seeds(len(NAMED_WORDS))} seeds on. "
            f"{TOGETHER.capitalize()}: the {NUM_FREQUENT} most frequent of the training split but <unk>."
        ),
        rows=tuple(rows),
        columns=columns,
        narrow=(columns[0], columns[2], *columns[5:8], columns[9]),
        sources=tuple(sources),
    )


def _mass_rows(one: Comparison) -> Iterator[tuple[Row, list[Source]]]:
    words = one.words()
    found = {measure: [one.contrast(word, measure) for word in words["word"]] for measure in MEASURES}
    # The paper speaks of four words: they are the family. Of the others the table shows no more than intervals.
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
            "share": float(share),
            "baseline_probability": _mean(one.b.by_seed(word, MEASURES[0])),
            "real_probability": _mean(one.a.by_seed(word, MEASURES[0])),
        }
        for key, measure in ((_WHOLE, MEASURES[0]), (_ELSEWHERE, MEASURES[1])):
            data |= _ratio_values(key, found[measure][i])
            data |= {f"{key}_p": p_values[measure][i], f"{key}_p_holm": adjusted[measure][i]}
        data["seeds"] = whole.num_pairs if whole else 0
        notes = [f"no interval: {whole.reason}"] if whole and whole.reason else []
        notes += shortfall(one.b.study, one.b.study.confirm)
        sources = []
        for key, contrasted in ((_WHOLE, whole), (_ELSEWHERE, found[MEASURES[1]][i])):
            for masses in (one.a, one.b):
                if contrasted is None:
                    continue
                own = masses.trials[(masses.trials["word"] == word) & masses.trials["seed"].isin(contrasted.seeds)]
                sources.append(Source(name, f"{key}_ratio", masses.study.study, " ".join(sorted(own["trial_id"]))))
        yield Row(name=name, data=data, section=heading, note="; ".join(notes), dim=whole is None), sources


def _ratio_values(key: str, found: Contrast | None) -> dict[str, Any]:
    return {f"{key}_{name}": getattr(found, name) if found else None for name in ("ratio", "ratio_low", "ratio_high")}


def _mean(values: dict[int, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None
