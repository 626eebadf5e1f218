"""Findings of the health checks, and iterators over the records that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.records.load import Results
from analysis.records.names import place_name
from analysis.records.sources import TrialKey, keys_of

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that one check found in one study or place."""

    level: str
    """``ok``, ``warning`` or ``problem``."""
    text: str
    subject: str = ""
    """The corpus and size, where the fault is one of several studies together."""
    studies: tuple[str, ...] = ()
    trials: tuple[TrialKey, ...] = ()
    """The trials concerned, where single ones are."""


@dataclass(frozen=True, kw_only=True)
class Check(Fault):
    """One finding as the report shows it; of level ``ok`` if there is none."""

    name: str
    """Of the check."""

    @property
    def message(self) -> str:
        """The finding with its place or studies."""
        where = self.subject or listed(self.studies)
        return f"{where}: {self.text}" if where else self.text


def fault(
    level: str, text: str, studies: Iterable[object], trials: pd.DataFrame | None = None, *, subject: str = ""
) -> Fault:
    """A fault of these studies, each named once, and of these trials."""
    names = tuple(dict.fromkeys(map(str, studies)))
    return Fault(
        level=level, text=text, subject=subject, studies=names, trials=() if trials is None else keys_of(trials)
    )


def merge(name: str, faults: Iterable[Fault]) -> list[Check]:
    """Joins the faults of the check ``name``: equal faults of several studies become one, unless they name trials."""
    same: dict[tuple[str, ...], list[Fault]] = {}
    for one in faults:
        key = (one.level, one.text, one.subject)
        same.setdefault((*key, *one.studies) if one.trials else key, []).append(one)
    return [
        Check(
            name=name, level=level, text=text, subject=subject,
            studies=tuple(dict.fromkeys(study for one in group for study in one.studies)),
            trials=tuple(key for one in group for key in one.trials),
        )
        for (level, text, subject, *_), group in same.items()
    ]  # fmt: skip


def by_study(trials: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each study and its trials."""
    for study, own in trials.groupby("study", sort=True):
        yield str(study), own


def by_place(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each corpus and size, by name, and its rows."""
    for (corpus, size), own in frame.groupby(["corpus", "size"], sort=True):
        yield place_name(str(corpus), str(size)), own


def latest_runs(results: Results) -> pd.DataFrame:
    """The last run of each study, indexed by study."""
    return results.runs.drop_duplicates("study", keep="last").set_index("study")


def listed(items: Iterable[object]) -> str:
    """``a, b, c, d and 3 more``."""
    names = [str(item) for item in items]
    more = len(names) - 4
    return ", ".join(names[:4]) + (f" and {more} more" if more > 0 else "")
