"""Pairs of variants of one corpus and size: the rows of the tables of contrasts and of tuning debt."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations, groupby

from analysis.measures.settings import ppl_by_seed, seed_trials, tuned_origin
from analysis.records.load import Results
from analysis.records.names import place_title, variant_label
from analysis.records.sources import TrialKey
from analysis.records.studies import SettingStudy, incomparable, studies
from study.records.trials import PAPER_ORIGIN

KINDS = ("recipe", "tuned")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two variants of one corpus and size; ``b`` is the one that the registry lists first."""

    a: SettingStudy
    b: SettingStudy

    @property
    def name(self) -> str:
        """For instance ``VD-LSTM+AL / VD-LSTM``."""
        return f"{variant_label(self.a.setting.variant)} / {variant_label(self.b.setting.variant)}"

    def origins(self, kind: str) -> tuple[str | None, str | None]:
        """The confirmed origins of both: the paper's recipe, or what stands for the tuned setting."""
        if kind == "recipe":
            return PAPER_ORIGIN, PAPER_ORIGIN
        return tuned_origin(self.a), tuned_origin(self.b)

    def ppls(self, kind: str, split: str) -> tuple[dict[int, float], dict[int, float]]:
        """Seed -> perplexity of both; empty where there is none, or where the two cannot be compared."""
        origins = self.origins(kind)
        if incomparable(self.a, self.b):
            return {}, {}
        found = [
            {} if origin is None else ppl_by_seed(study, origin, split)
            for study, origin in zip((self.a, self.b), origins, strict=True)
        ]
        return found[0], found[1]

    def trials(self, kind: str, seeds: Collection[int]) -> tuple[TrialKey, ...]:
        """The confirm trials of both with these seeds."""
        both = zip((self.a, self.b), self.origins(kind), strict=True)
        return tuple(key for study, origin in both for key in seed_trials(study, origin, seeds))

    def lacks(self, kind: str) -> str | None:
        """Why the two cannot be compared, or None if they can."""
        if reason := incomparable(self.a, self.b):
            return reason
        bare = [
            study.setting.variant
            for study, origin in zip((self.a, self.b), self.origins(kind), strict=True)
            if origin is None or not ppl_by_seed(study, origin, "valid")
        ]
        if bare:
            return f"{' and '.join(variant_label(variant) for variant in bare)}: nothing confirmed on fresh seeds"
        valid = self.ppls(kind, "valid")
        return None if set(valid[0]) & set(valid[1]) else "no seed in common"


def pairs(results: Results) -> Iterator[tuple[str, list[Pair]]]:
    """(heading of a corpus and size, its pairs), where at least two variants have a study, in the registries' order."""
    grouped = groupby(studies(results), key=lambda study: (study.setting.corpus, study.setting.size))
    for (corpus, size), members in grouped:
        if len(own := list(members)) > 1:
            yield place_title(corpus, size), [Pair(a=a, b=b) for b, a in combinations(own, 2)]
