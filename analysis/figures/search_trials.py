"""The trials of a search in the space of its parameters: what the slices show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import axes as parameters
from analysis.figures.figure import Part
from analysis.figures.panels import counted, optional, parts_by_group, span, studies
from analysis.measures.settings import SettingStudy
from analysis.parameters import searched
from analysis.records.load import Results
from study.records.parameters import PARAMETERS
from study.records.records import Setting

NEEDS = "no search has a complete trial and a parameter that differs between trials yet"


@dataclass(frozen=True, kw_only=True)
class SearchTrials:
    """The trials of one search, in the order of ``trial_ids``."""

    setting: Setting
    study: str
    trial_ids: tuple[str, ...]
    statuses: tuple[str, ...]
    ppl: tuple[float | None, ...]
    """Lowest validation perplexity of a trial that ran to its end; None for all others."""
    points: tuple[tuple[str, tuple[float | None, ...]], ...]
    """(parameter, its value in each trial); of a choice, the place among its options."""

    @property
    def best(self) -> float | None:
        """The lowest perplexity, None without a complete trial."""
        return min((ppl for ppl in self.ppl if ppl is not None), default=None)

    def column(self, name: str) -> np.ndarray:
        """A parameter's values, NaN where missing or not searched."""
        return np.array(dict(self.points).get(name, (None,) * len(self.trial_ids)), dtype=float)


@dataclass(frozen=True, kw_only=True)
class SearchTrialsInfo:
    """The searches, in the registries' order of settings."""

    searches: tuple[SearchTrials, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no search has a complete trial and a parameter that differs."""
        return not any(can_be_drawn(search) for search in self.searches)

    def frame(self) -> pd.DataFrame:
        """A row per trial, a column per parameter."""
        rows: list[dict[str, Any]] = []
        for search in self.searches:
            for i, trial_id in enumerate(search.trial_ids):
                row = {**search.setting._asdict(), "valid_ppl": search.ppl[i], "status": search.statuses[i]}
                row |= {name: values[i] for name, values in search.points}
                rows.append(row | {"study": search.study, "trial_id": trial_id})
        return pd.DataFrame(rows)


def can_be_drawn(search: SearchTrials) -> bool:
    """Whether it has a complete trial and a parameter that differs."""
    return search.best is not None and bool(search.points)


def drawable(info: SearchTrialsInfo) -> list[SearchTrials]:
    """The searches that can be drawn."""
    return [search for search in info.searches if can_be_drawn(search)]


def parameter_names(searches: Sequence[SearchTrials]) -> list[str]:
    """The parameters that any of these searches varies, in the order of their declarations."""
    found = {name for search in searches for name, _ in search.points}
    return [name for name in PARAMETERS if name in found]


def perplexity_range(searches: Sequence[SearchTrials]) -> tuple[float, float]:
    """From the lowest perplexity of these searches to where their worst tenth begins."""
    values = [ppl for search in searches for ppl in search.ppl if ppl is not None]
    return min(values), max(float(np.quantile(values, 0.9)), 1.001 * min(values))


def note(searches: Sequence[SearchTrials]) -> str:
    """How many trials are complete, and how many are not."""
    complete = span((sum(ppl is not None for ppl in s.ppl) for s in searches), "complete trial")
    text = complete + (" each" if len(searches) > 1 else "")
    for status, word in (("failed", "failed"), ("pruned", "stopped by ASHA"), ("interrupted", "unfinished")):
        text += counted(sum(s.statuses.count(status) for s in searches), word)
    return text


def parts(info: SearchTrialsInfo) -> list[Part]:
    """A picture per corpus and size."""
    return parts_by_group(drawable(info), lambda items: SearchTrialsInfo(searches=items))


def search_trials(results: Results) -> SearchTrialsInfo:
    """The search of every study."""
    return SearchTrialsInfo(searches=tuple(_search(study) for study in studies(results)))


def _search(study: SettingStudy) -> SearchTrials:
    trials = study.search.sort_values("trial_id")
    ppl = trials["best_valid_ppl"].astype(float).where(trials["status"] == "complete")
    points = [(name, optional(parameters.as_numbers(name, trials[name]))) for name in searched(trials)]
    return SearchTrials(
        setting=study.setting,
        study=study.study,
        trial_ids=tuple(trials["trial_id"]),
        statuses=tuple(trials["status"]),
        ppl=optional(ppl),
        points=tuple((name, values) for name, values in points if any(value is not None for value in values)),
    )
