"""Links from the numbers on the page to their trials, and the facts that the page shows of each cited trial.

Each study and each cited trial has an anchor. Values that all cited trials of a study share are shown once above their
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.records.load import Results
from analysis.records.sources import TrialKey, by_study
from analysis.records.trials import side_by_side
from analysis.tables.table import is_missing
from study.records.records import SCHEMAS

_FEW = 12
"""Trials up to which a citation names each one, also where it cites a whole study."""
_NOT_CONFIG = {"study", "trial_id", "attempt"}
_TIMES = ("started_at", "ended_at", "recorded_at")


@dataclass(frozen=True, kw_only=True)
class Cited:
    """Trials of one study."""

    study: str
    anchor: str
    """Of the study's part of the page; empty if the records lack it."""
    trials: tuple[tuple[str, str], ...]
    """(trial id, its anchor)."""
    whole: bool
    """Whether these are all trials of a study that has many."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """One start of a driver."""

    title: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """One study: where its numbers come from, and those of its trials that the page cites."""

    anchor: str
    name: str
    setting: str
    storage: str
    checksums: tuple[str, ...]
    """SHA-256 of the corpus; more than one if its runs differ."""
    commits: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    """(status, trials)."""
    num_trials: int
    device_hours: float | None
    runs: tuple[RunView, ...]
    shared: tuple[tuple[str, str], ...]
    """(column, value) that all cited trials have in common."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """(anchor, values of ``columns``) of each cited trial."""


class CitationIndex:
    """Assigns anchors to studies and trials, and collects the trials that are cited.

    Args:
        results: the records.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        last_epochs = results.subspace.drop_duplicates(["study", "trial_id"], keep="last")
        measured = side_by_side(results.evaluations, results.trials)
        frames = {"trials": pd.concat([results.trials, measured], axis=1), "subspace": last_epochs}
        self._columns = {name: [*SCHEMAS[name].names, *measured.columns] for name in frames}
        self._trials: dict[str, tuple[str, pd.DataFrame]] = {}  # study -> (table, rows by trial id)
        for table, frame in frames.items():
            for study, own in frame.groupby("study", sort=True):
                self._trials.setdefault(str(study), (table, own.set_index("trial_id", drop=False)))
        runs = results.runs
        self._runs = {str(study): own for study, own in runs.groupby("study", sort=True)}
        names = sorted({*self._trials, *self._runs})
        self._anchors = {name: f"study-{i}" for i, name in enumerate(names, start=1)}
        self._cited: dict[str, set[str]] = {name: set() for name in names}
        self._places = {
            study: {str(trial_id): i for i, trial_id in enumerate(own.index, start=1)}
            for study, (_, own) in self._trials.items()
        }

    def cite(self, trials: Iterable[TrialKey]) -> tuple[Cited, ...]:
        """Groups trials by study, each once; they will have a row on the page."""
        return tuple(self._cite(study, ids) for study, ids in by_study(trials).items())

    def _cite(self, study: str, ids: tuple[str, ...]) -> Cited:
        places = self._places.get(study, {})
        self._cited.setdefault(study, set()).update(trial_id for trial_id in ids if trial_id in places)
        return Cited(
            study=study,
            anchor=self._anchors.get(study, ""),
            trials=tuple((trial_id, self._anchor(study, trial_id)) for trial_id in ids),
            whole=len(ids) > _FEW and set(ids) == set(places),
        )

    def _anchor(self, study: str, trial_id: str) -> str:
        place = self._places.get(study, {}).get(trial_id)
        return "" if place is None else f"{self._anchors[study].replace('study', 'trial')}-{place}"

    def anchor(self, study: str) -> str:
        """Of the study's part of the page; empty if the records lack it."""
        return self._anchors.get(study, "")

    def studies(self) -> tuple[StudyView, ...]:
        """Every study of the records, by name, with the trials that have been cited up to now."""
        return tuple(self._study(name) for name in self._anchors)

    def _study(self, name: str) -> StudyView:
        table, trials = self._trials.get(name, ("trials", self._results.trials.iloc[:0]))
        runs = self._runs.get(name, self._results.runs.iloc[:0])
        some = trials if len(trials) else runs
        counts = trials["status"].value_counts()
        cited = trials[trials.index.isin(self._cited[name])] if len(trials) else trials
        shared, columns, rows = _compact(
            cited, [c for c in self._columns[table] if c in cited and c not in _NOT_CONFIG]
        )
        return StudyView(
            anchor=self._anchors[name],
            name=name,
            setting=", ".join(
                dict.fromkeys("/".join(c) for c in some[["corpus", "size", "variant"]].to_numpy(dtype=str))
            ),
            storage=", ".join(sorted({*some["storage"]})),
            checksums=_distinct(runs["corpus_sha256"], trials.get("corpus_sha256")),
            commits=_distinct(runs["git_commit"], trials["git_commit"]),
            counts=tuple((str(status), int(count)) for status, count in counts.items()),
            num_trials=len(trials),
            device_hours=float(trials["device_s"].sum()) / 3600.0 if "device_s" in trials else None,
            runs=tuple(_run(run) for run in runs.to_dict("records")),
            shared=shared,
            columns=("trial_id", *columns),
            rows=tuple(
                (self._anchor(name, str(trial_id)), (str(trial_id), *values))
                for trial_id, values in zip(cited.index, rows, strict=True)
            ),
        )


def _compact(
    frame: pd.DataFrame, names: list[str]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], Iterator[tuple[str, ...]]]:
    """Values that all rows share, the other columns, and their values; columns without a value are left out."""
    texts = {name: [show(name, value) for value in frame[name]] for name in names}
    shared = tuple((name, column[0]) for name, column in texts.items() if len(set(column)) == 1 and column[0])
    differing = {name: column for name, column in texts.items() if len(set(column)) > 1}
    rows = zip(*differing.values(), strict=True) if differing else iter([()] * len(frame))
    return shared, tuple(differing), iter(rows)


def show(name: str, value: Any) -> str:
    """A value of the records in few characters: a float to five digits, a time to the minute, a checksum whole."""
    if is_missing(value) or value is pd.NaT or value is pd.NA:
        return ""
    if name in _TIMES:
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.5g}" if abs(value) < 1e5 else f"{value:.0f}"
    if name == "git_commit":
        return str(value)[:12]
    return "yes" if value is True else "no" if value is False else str(value)


def _distinct(*columns: pd.Series | None) -> tuple[str, ...]:
    values = (value for column in columns if column is not None for value in column.dropna())
    return tuple(dict.fromkeys(str(value) for value in values))


def _run(run: dict[str, Any]) -> RunView:
    title = f"Run {run['run']}, {show('started_at', run['started_at'])}"
    if ended := show("ended_at", run["ended_at"]):
        title += f" to {ended}"
    facts = {
        "outcome": run["outcome"],
        "argv": run["argv"],
        "commit": run["git_commit"],
        "versions": ", ".join(
            f"{name} {run[name]}"
            for name in ("python", "torch", "ray", "optuna", "pyarrow")
            if not is_missing(run[name])
        ),
        "machine": ", ".join(filter(None, (show("", run[name]) for name in ("platform", "cpu_model", "gpu_model")))),
    }
    if run["git_dirty"] is True and run["git_commit"]:
        facts["commit"] = f"{run['git_commit']} with uncommitted changes"
    for unit, name in (("CPUs", "num_cpus"), ("GPUs", "num_gpus")):
        if not is_missing(run[name]):
            facts["machine"] += f", {run[name]:.0f} {unit}"
    rest = (
        "search_seed", "space_hash", "num_samples", "max_epochs", "num_seeds", "grace_period", "reduction_factor",
        "max_concurrent", "time_budget_s", "vocab_size", "num_train_tokens", "num_valid_tokens", "num_test_tokens",
    )  # fmt: skip
    facts["settings"] = ", ".join(f"{name} {show(name, run[name])}" for name in rest if show(name, run[name]))
    return RunView(
        title=title, facts=tuple((name, show("", value)) for name, value in facts.items() if show("", value))
    )
