"""Shared by the figures: an item per study, grouping into panels and parts, words for counts and times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from analysis.figures.figure import Part
from analysis.records.load import Results
from analysis.records.names import corpus_title, place_title
from analysis.records.studies import SettingStudy
from analysis.records.studies import studies as all_studies
from study.records.records import STATUSES, Setting


def studies(results: Results) -> list[SettingStudy]:
    """The study that stands for each setting and has a trial, in the registries' order."""
    return [study for study in all_studies(results) if len(study.trials)]


@dataclass(frozen=True, kw_only=True)
class OfStudy:
    """Base of what a figure shows of one study."""

    setting: Setting
    study: str

    @property
    def is_drawn(self) -> bool:
        """Whether there is enough of it to be drawn."""
        return True


T = TypeVar("T", bound=OfStudy)


@dataclass(frozen=True, kw_only=True)
class StudiesInfo(Generic[T]):
    """Base of an info object with an item per study."""

    studies: tuple[T, ...]
    """In the registries' order of settings."""

    @property
    def drawn(self) -> list[T]:
        """The studies that have enough to be drawn."""
        return [study for study in self.studies if study.is_drawn]

    @property
    def is_empty(self) -> bool:
        """Whether no study has enough to be drawn."""
        return not self.drawn


AnyInfo = TypeVar("AnyInfo", bound=StudiesInfo)


def by_group(items: Iterable[T]) -> list[tuple[str, str, list[T]]]:
    """(corpus, size, its items), for items in the registries' order of settings."""
    grouped = groupby(items, key=lambda item: (item.setting.corpus, item.setting.size))
    return [(corpus, size, list(members)) for (corpus, size), members in grouped]


def parts_by_corpus(info: AnyInfo) -> list[Part]:
    """A part per corpus that has something to draw."""
    grouped = groupby(info.studies, key=lambda item: item.setting.corpus)
    parts = [Part(corpus, corpus_title(corpus), replace(info, studies=tuple(own))) for corpus, own in grouped]
    return [part for part in parts if not part.info.is_empty]


def parts_by_group(info: AnyInfo) -> list[Part]:
    """A part per corpus and size that has something to draw."""
    return [
        Part(f"{corpus}-{size}", place_title(corpus, size), replace(info, studies=tuple(own)))
        for corpus, size, own in by_group(info.drawn)
    ]


def optional(values: Iterable[Any]) -> tuple[float | None, ...]:
    """As floats, None for what is missing or not finite: NaN would make equal objects differ."""
    return tuple(float(v) if v is not None and np.isfinite(v) else None for v in values)


def status_counts(trials: pd.DataFrame) -> dict[str, int]:
    """Number of trials of each status, all statuses named."""
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
    """``; 3 failed`` for a note; empty if the number is zero."""
    return f"; {number} {what}" if number else ""


def time_unit(longest_s: float) -> tuple[str, float]:
    """(unit, its seconds) in which times up to this many seconds are easily read: seconds, minutes or hours."""
    if longest_s >= 7200:
        return "hours", 3600.0
    return ("minutes", 60.0) if longest_s >= 120 else ("seconds", 1.0)
