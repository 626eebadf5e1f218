"""Chooses the study that stands for a setting (corpus x size x variant), by how much was run, never by its results.

Two kinds of studies are kept apart:

* second sessions (footnote 4), whose trials restart half-way, never stand for a setting: ``second_session_of``;
* precisions of the matrix products are never mixed. Each study has one; for each corpus and size, the precision in
  which most was run stands for all variants, so that they can be compared. A variant that was run in another one alone
  is shown, but not compared (``incomparable``).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any

import pandas as pd

from analysis.records.load import Results
from analysis.records.names import variant_label
from study.records.records import Setting
from study.records.trials import SEARCH_BLOCKS
from trainables.recipes import CORPORA, SIZES, VARIANTS

DEFAULT_PRECISION = "fp32"  # of records that name none


@dataclass(frozen=True, kw_only=True)
class SettingStudy:
    """The study that stands for a setting."""

    setting: Setting
    study: str
    trials: pd.DataFrame
    """Its rows of ``Results.trials``."""
    evaluations: pd.DataFrame
    """Its rows of ``Results.evaluations``."""
    num_seeds: int | None
    """Seeds planned for each confirmed configuration, by its latest run; None if no run is recorded."""
    num_samples: int | None = None
    """Trials planned for the search, by its latest run; None if no run is recorded."""
    others: tuple[str, ...] = ()
    """Studies of the same setting that are left out."""
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Cached results of ``analysis.measures.settings`` and ``analysis.figures.panels``."""

    @property
    def has_search(self) -> bool:
        """Whether it searches, rather than train the paper's recipe alone."""
        return self.num_samples is None or self.num_samples > 1

    @cached_property
    def search(self) -> pd.DataFrame:
        """Trials of the blocks default, random and tpe."""
        return self.trials[self.trials["block"].isin(SEARCH_BLOCKS)]

    @cached_property
    def select(self) -> pd.DataFrame:
        """Trials of the select block; none in a study that was run before there was one."""
        return self.trials[self.trials["block"] == "select"]

    @cached_property
    def confirm(self) -> pd.DataFrame:
        """Trials of the confirm block."""
        return self.trials[self.trials["block"] == "confirm"]

    @cached_property
    def precision(self) -> str | None:
        """Precision of its matrix products; None without a trial."""
        return _precision(self.trials)

    @cached_property
    def max_epochs(self) -> int | None:
        """Full length of its trials; None without a trial."""
        lengths = self.trials["max_epochs"].dropna()
        return int(lengths.max()) if len(lengths) else None


def settings_with_records(results: Results) -> list[Setting]:
    """The settings that any trial or run belongs to, in the registries' order."""
    keys = list(Setting._fields)
    found = pd.concat([results.trials[keys], results.runs[keys]]).drop_duplicates()
    return sorted((Setting(*row) for row in found.itertuples(index=False)), key=setting_order)


def setting_order(setting: Setting) -> tuple[tuple[int, str], ...]:
    """Sorts settings as the registries do; names that they lack come last."""
    registries: tuple[Sequence[str], ...] = (list(CORPORA), list(SIZES), list(VARIANTS))
    return tuple(
        (names.index(name) if name in names else len(names), name)
        for names, name in zip(registries, setting, strict=True)
    )


def _once(
    function: Callable[[Results, Setting], SettingStudy | None],
) -> Callable[[Results, Setting], SettingStudy | None]:
    """Decorator: caches the study of each setting for as long as ``results`` lives."""
    known: dict[int, dict[Setting, SettingStudy | None]] = {}

    @wraps(function)
    def found(results: Results, setting: Setting) -> SettingStudy | None:
        own = known.get(id(results))
        if own is None:
            own = known[id(results)] = {}
            weakref.finalize(results, known.pop, id(results), None)
        if setting not in own:
            own[setting] = function(results, setting)
        return own[setting]

    return found


@_once
def study_of(results: Results, setting: Setting) -> SettingStudy | None:
    """The study that stands for a setting, or None if it has not been run.

    Of several, those in the precision that stands for the corpus and size come first; among them the one with the
    longest trials, then the most confirmed trials, then the most trials. A study without a trial comes last.
    Second sessions do not count.
    """
    trials, runs = _rows_of(results.trials, setting), _rows_of(results.runs, setting)
    second = second_sessions(trials)
    names = sorted({*trials["study"], *runs["study"]} - second)
    if not names:
        return None
    same = results.trials[(results.trials["corpus"] == setting.corpus) & (results.trials["size"] == setting.size)]
    wanted = _main_precision(same[~same["study"].isin(second_sessions(same))])
    own = {name: trials[trials["study"] == name] for name in names}

    def amount(name: str) -> tuple[float, ...]:
        planned = runs.loc[runs["study"] == name, "max_epochs"]
        return (float(len(own[name]) > 0), float(_precision(own[name]) == wanted), *_amount(own[name], planned))

    best = max(names, key=amount)
    return _setting_study(results, setting, best, runs, others=[name for name in names if name != best])


@_once
def second_session_of(results: Results, setting: Setting) -> SettingStudy | None:
    """The study of footnote 4's second session of a setting, or None: the one with the most, as in ``study_of``."""
    trials = _rows_of(results.trials, setting)
    names = sorted(second_sessions(trials))
    if not names:
        return None
    best = max(names, key=lambda name: _amount(trials[trials["study"] == name]))
    return _setting_study(
        results, setting, best, _rows_of(results.runs, setting), others=[name for name in names if name != best]
    )


def studies(results: Results) -> list[SettingStudy]:
    """The study that stands for each setting, in the registries' order."""
    found = (study_of(results, setting) for setting in settings_with_records(results))
    return [study for study in found if study is not None]


def incomparable(a: SettingStudy, b: SettingStudy) -> str | None:
    """Why two studies cannot be compared, or None if they can: both begun, one precision, trials of one length."""
    names = [variant_label(study.setting.variant) for study in (a, b)]
    if bare := [name for name, study in zip(names, (a, b), strict=True) if study.trials.empty]:
        return f"{' and '.join(bare)}: no trial yet"
    if a.precision != b.precision:
        return f"{names[0]} was run in {a.precision}, {names[1]} in {b.precision}"
    if a.max_epochs != b.max_epochs:
        return f"trials of {names[0]} have {a.max_epochs} epochs, those of {names[1]} {b.max_epochs}"
    return None


def _rows_of(frame: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    keys = list(Setting._fields)
    return frame[(frame[keys] == list(setting)).all(axis=1)]


def second_sessions(trials: pd.DataFrame) -> set[str]:
    """The studies among these trials that are of footnote 4's second session."""
    return set(trials.loc[trials["second_session_epoch"].notna(), "study"])


def _precision(trials: pd.DataFrame) -> str | None:
    return None if trials.empty else str(trials["precision"].fillna(DEFAULT_PRECISION).iloc[0])


def _main_precision(trials: pd.DataFrame) -> str | None:
    """The precision in which most of these trials were run, by the measure of ``_amount``."""
    if trials.empty:
        return None
    groups = dict(iter(trials.groupby(trials["precision"].fillna(DEFAULT_PRECISION))))
    return str(max(sorted(groups), key=lambda name: _amount(groups[name])))


def _amount(trials: pd.DataFrame, planned: pd.Series | None = None) -> tuple[float, ...]:
    """Amount that was run: length of the longest trial, complete confirm trials, trials."""
    lengths = [0.0, *trials["max_epochs"].dropna(), *(() if planned is None else planned.dropna())]
    confirmed = ((trials["block"] == "confirm") & (trials["status"] == "complete")).sum()
    return (max(lengths), float(confirmed), float(len(trials)))


def _setting_study(
    results: Results, setting: Setting, study: str, runs: pd.DataFrame, others: list[str]
) -> SettingStudy:
    def planned(column: str) -> int | None:
        values = runs.loc[runs["study"] == study, column].dropna()
        return int(values.iloc[-1]) if len(values) else None

    return SettingStudy(
        setting=setting,
        study=study,
        trials=_rows_of(results.trials[results.trials["study"] == study], setting),
        evaluations=_rows_of(results.evaluations[results.evaluations["study"] == study], setting),
        num_seeds=planned("num_seeds"),
        num_samples=planned("num_samples"),
        others=tuple(others),
    )
