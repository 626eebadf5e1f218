"""The studies of one corpus and size side by side: what a panel of a figure shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from analysis.figures.figure import Part
from analysis.measures.settings import SettingStudy, settings_with_records, study_of
from analysis.records.load import Results
from analysis.records.names import corpus_title, place_title
from study.records.records import STATUSES, Setting


def studies(results: Results) -> list[SettingStudy]:
    """The study that stands for each setting and has a trial, in the registries' order."""
    found = (study_of(results, setting) for setting in settings_with_records(results))
    return [study for study in found if study is not None and len(study.trials)]


class OfSetting(Protocol):
    """Part of an info object that belongs to one setting."""

    @property
    def setting(self) -> Setting:
        """The setting."""


T = TypeVar("T", bound=OfSetting)


def by_group(items: Iterable[T]) -> list[tuple[str, str, list[T]]]:
    """(corpus, size, its items), for items in the registries' order of settings."""
    grouped = groupby(items, key=lambda item: (item.setting.corpus, item.setting.size))
    return [(corpus, size, list(members)) for (corpus, size), members in grouped]


def parts_by_corpus(items: Iterable[T], make: Callable[[tuple[T, ...]], Any]) -> list[Part]:
    """A part per corpus; ``make`` turns its items into an info object."""
    grouped = groupby(items, key=lambda item: item.setting.corpus)
    return [Part(corpus, corpus_title(corpus), make(tuple(members))) for corpus, members in grouped]


def parts_by_group(items: Iterable[T], make: Callable[[tuple[T, ...]], Any]) -> list[Part]:
    """A part per corpus and size; ``make`` turns its items into an info object."""
    grouped = by_group(items)
    return [Part(f"{c}-{s}", place_title(c, s), make(tuple(members))) for c, s, members in grouped]


def optional(values: Iterable[Any]) -> tuple[float | None, ...]:
    """As floats, None for what is missing or not finite: NaN would make equal objects differ."""
    return tuple(float(v) if v is not None and np.isfinite(v) else None for v in values)


def status_counts(trials: pd.DataFrame) -> dict[str, int]:
    """How many of the trials have each status, all statuses named."""
    counts = trials["status"].value_counts()
    return {status: int(counts.get(status, 0)) for status in STATUSES}


def span(counts: Iterable[int], unit: str) -> str:
    """``40 trials``, or ``12 to 40 trials`` where the counts differ."""
    found = sorted(set(counts))
    if not found:
        return f"no {unit}s"
    number = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"{number} {unit}{'' if found == [1] else 's'}"


def curves(results: Results, study: SettingStudy) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Trial -> (epochs, finite validation perplexities) of every trial of the study that has any."""
    if "curves" not in study.memo:
        rows = results.epochs[results.epochs["study"] == study.study]
        rows = rows[np.isfinite(rows["valid_ppl"].to_numpy(dtype=float))]
        names = rows["trial_id"].to_numpy(dtype=object)
        starts = np.flatnonzero(np.append(True, names[1:] != names[:-1])) if len(names) else np.array([], dtype=int)
        columns = (np.split(rows[name].to_numpy(), starts[1:]) for name in ("epoch", "valid_ppl"))
        study.memo["curves"] = dict(zip(names[starts], zip(*columns, strict=True), strict=True)) if len(names) else {}
    return study.memo["curves"]


def counted(number: int, what: str) -> str:
    """``; 3 failed`` to add to a note, nothing where the number is zero."""
    return f"; {number} {what}" if number else ""


def time_unit(longest_s: float) -> tuple[str, float]:
    """(unit, its seconds) in which times up to this many seconds are easily read: seconds, minutes or hours."""
    if longest_s >= 7200:
        return "hours", 3600.0
    return ("minutes", 60.0) if longest_s >= 120 else ("seconds", 1.0)
