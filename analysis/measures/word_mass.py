"""Section 6.4: the mean probability that networks give to ``<unk>`` and to frequent words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.measures.pairs import KINDS
from analysis.measures.settings import tuned_origin
from analysis.records.load import Results
from analysis.records.studies import SettingStudy, incomparable, study_of
from analysis.stats.contrasts import Contrast, contrast
from study.records.records import Setting
from study.records.trials import PAPER_ORIGIN
from trainables.data.phrases import NAMED_WORDS

UNKNOWN = "<unk>"
TOGETHER = "frequent words together"
NUM_FREQUENT = 20
"""Number of the training split's most frequent words that count as frequent."""
MEASURES = ("mean_probability", "mean_probability_elsewhere")
"""Over all positions of the split, and over those where the word is not the target."""


@dataclass(frozen=True, kw_only=True)
class Masses:
    """Probabilities that the trials of one setting and configuration give to each word."""

    study: SettingStudy
    trials: pd.DataFrame
    """Rows of ``Results.word_mass``, one seed a trial."""

    def by_seed(self, word: str, measure: str) -> dict[int, float]:
        """Seed -> mean probability; without the trials where it is not known."""
        own = self.trials[self.trials["word"] == word].dropna(subset=[measure])
        return {int(seed): float(value) for seed, value in zip(own["seed"], own[measure], strict=True) if value > 0}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two variants of one corpus and size, one configuration (recipe or tuned) and one split."""

    corpus: str
    size: str
    configuration: str
    split: str
    a: Masses
    b: Masses

    def words(self) -> pd.DataFrame:
        """``word``, ``frequency_rank``, ``share`` (of the split's positions, in the text): the words that both have.

        Those that section 6.4 names and the most frequent of the training split, by their frequency there; last the
        frequent ones together, ``<unk>`` not among them.
        """
        both = set(self.a.trials["word"]) & set(self.b.trials["word"])
        own = self.b.trials[self.b.trials["word"].isin(both)].drop_duplicates("word")
        keep = own["word"].isin([*NAMED_WORDS, TOGETHER]) | (own["frequency_rank"] <= NUM_FREQUENT)
        own = own[keep].sort_values("frequency_rank", na_position="last")
        return own.assign(share=own["num_split"] / own["num_positions"])[["word", "frequency_rank", "share"]]

    def contrast(self, word: str, measure: str) -> Contrast | None:
        """a against b on the logarithm of the probability, paired over seeds; None without a seed in common."""
        return contrast(self.a.by_seed(word, measure), self.b.by_seed(word, measure))


def comparisons(results: Results, a: str, b: str) -> Iterator[Comparison]:
    """Variant a against variant b wherever both have recorded word masses, under the recipe and when tuned."""
    frame = results.word_mass
    for corpus, size, split in frame[["corpus", "size", "split"]].drop_duplicates().itertuples(index=False):
        studies = [study_of(results, Setting(corpus, size, variant)) for variant in (a, b)]
        if studies[0] is None or studies[1] is None or incomparable(studies[0], studies[1]):
            continue
        own = frame[frame["split"] == split]
        won = all(tuned_origin(study) == PAPER_ORIGIN for study in studies if study is not None)
        for kind in KINDS[:1] if won else KINDS:  # the recipe won both searches: tuned is the same once more
            masses = [_masses(own, study, kind) for study in studies if study is not None]
            if all(len(one.trials) for one in masses):
                yield Comparison(corpus=corpus, size=size, configuration=kind, split=split, a=masses[0], b=masses[1])


def _masses(frame: pd.DataFrame, study: SettingStudy, kind: str) -> Masses:
    origin = PAPER_ORIGIN if kind == "recipe" else tuned_origin(study)
    ids = study.confirm.loc[study.confirm["origin"] == origin, "trial_id"] if origin else []
    own = frame[(frame["study"] == study.study) & frame["trial_id"].isin(list(ids))]
    # One row per word and seed: the first trial of a seed.
    own = own.sort_values("trial_id").drop_duplicates(["seed", "word"])
    return Masses(study=study, trials=_with_sum(own))


def _with_sum(trials: pd.DataFrame) -> pd.DataFrame:
    """Adds a row per seed for the frequent words together: the sum of their probabilities."""
    frequent = trials[(trials["frequency_rank"] <= NUM_FREQUENT) & (trials["word"] != UNKNOWN)]
    if frequent.empty:
        return trials
    sums: Mapping[str, tuple[str, str]] = {
        "trial_id": ("trial_id", "first"),
        "num_split": ("num_split", "sum"),
        "num_positions": ("num_positions", "first"),
        "mean_probability": ("mean_probability", "sum"),
    }
    # No sum of ``mean_probability_elsewhere``: its positions differ from word to word.
    total = frequent.groupby("seed").agg(**sums).reset_index().assign(word=TOGETHER)
    return pd.concat([trials, total], ignore_index=True)
