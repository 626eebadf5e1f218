"""The invariants of a study's storage: each function returns a line per violation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pyarrow.parquet as pq
import torch

from study.records.records import read_table
from study.records.trials import may_win_search
from tests.support.blocks import in_search

KEYS = {
    "epochs": ["trial_id", "epoch"],
    "trials": ["trial_id"],
    "evaluations": ["trial_id", "evaluator", "split", "measure"],
}
# Columns that may differ between two runs of the same study: times, and numbers of attempts.
TIMES = ["tokens_per_s", "epoch_s", "peak_memory_bytes", "device_s", "started_at", "ended_at", "recorded_at"]
DEATHS = ["attempt", "optuna_number"]  # a driver that dies after asking leaves a failed trial in Optuna's study


class Watch:
    """Remembers every epoch that was ever on record, and checks that it still is."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.seen: dict[tuple[str, int], float] = {}

    def look(self) -> list[str]:
        """Epochs that are lost, changed or recorded twice."""
        columns = read_table(str(self.storage), "epochs").select(["trial_id", "epoch", "valid_ppl"]).to_pydict()
        keys = list(zip(columns["trial_id"], columns["epoch"], strict=True))
        rows = dict(zip(keys, columns["valid_ppl"], strict=True))
        broken = [f"{_epoch(key)} is on record {n} times" for key, n in Counter(keys).items() if n > 1]
        for key, ppl in self.seen.items():
            if key not in rows:
                broken.append(f"{_epoch(key)} was on record and is lost")
            elif rows[key] != ppl:
                broken.append(f"{_epoch(key)} had perplexity {ppl!r} and now has {rows[key]!r}")
        self.seen = rows | self.seen
        return broken


def unreadable(storage: Path) -> list[str]:
    """Files with their final name that cannot be loaded."""
    broken = []
    for path in sorted(storage.rglob("*")):
        try:
            if not path.name.startswith("."):  # else a temporary name
                _load(path)
        except FileNotFoundError:  # replaced or deleted by a driver at work
            continue
        except Exception as error:  # damaged bytes can raise anything
            broken.append(f"{path.relative_to(storage)} cannot be read: {type(error).__name__}: {error}")
    return broken


def read_test_early(storage: Path) -> list[str]:
    """Test evaluations of a search trial, or of a confirm trial before its last epoch."""
    broken = []
    read = read_table(str(storage), "evaluations").to_pylist()  # before the epochs, which may grow meanwhile
    trials = {row["trial_id"]: row for row in read_table(str(storage), "trials").to_pylist()}
    num_epochs = Counter(read_table(str(storage), "epochs")["trial_id"].to_pylist())
    for name in sorted({row["trial_id"] for row in read if row["split"] == "test"}):
        # The row of the last epoch is written after the evaluations.
        if trials[name]["block"] != "confirm" or num_epochs[name] < trials[name]["max_epochs"] - 1:
            broken.append(f"trial {name} was measured on the test split after {num_epochs[name]} epochs")
    for path in sorted(storage.rglob("last.pt")):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            continue
        except Exception:  # reported by `unreadable`
            continue
        for row in state["rows"]:
            ended = row["epoch"] >= state["config"]["max_epochs"] and path.parent.name.startswith("confirm-")
            if any(e["split"] == "test" for e in row.get("evaluations", ())) and not ended:
                broken.append(f"the checkpoint of {path.parent.name} has a test perplexity at epoch {row['epoch']}")
    return broken


def not_evaluated(storage: Path) -> list[str]:
    """Confirm trials whose end is on record and whose evaluations are not."""
    trials = read_table(str(storage), "trials").to_pylist()  # before the evaluations: these are written first
    read = {(row["trial_id"], row["split"]) for row in read_table(str(storage), "evaluations").to_pylist()}
    return [
        f"trial {row['trial_id']} is complete and was not measured on the {split} split"
        for row in trials
        for split in ("valid", "test")
        if row["block"] == "confirm" and row["status"] == "complete" and (row["trial_id"], split) not in read
    ]


def left_open(storage: Path) -> list[str]:
    """Trials, runs and checkpoints of an ended study that are still open, in Optuna or in the records."""
    broken = [
        f"trial {row['trial_id']} is {row['status']} in a study that has ended"
        for row in read_table(str(storage), "trials").to_pylist()
        if row["status"] == "interrupted"
    ]
    runs = read_table(str(storage), "runs").to_pylist()
    broken += [f"run {row['run']} stands as {row['outcome']}" for row in runs if row["outcome"] == "running"]
    told: Counter[str] = Counter()
    for trial in optuna_trials(storage):
        name = trial.user_attrs.get("trial_id", "")
        told[name] += 1
        if not trial.state.is_finished():
            broken.append(f"Optuna's trial {trial.number} ({name or 'of nobody'}) is {trial.state.name} for ever")
    searched = {row["trial_id"] for row in in_search(read_table(str(storage), "trials").to_pylist())}
    broken += [f"Optuna has no trial {name}" for name in sorted(searched - set(told))]
    broken += [f"Optuna has {n} trials {name}" for name, n in sorted(told.items()) if name and n > 1]
    return broken + [f"{path.parent.name} still has its last checkpoint" for path in storage.rglob("last.pt")]


def differences(storage: Path, undisturbed: Path) -> list[str]:
    """Differences between the records of an ended study and those of an undisturbed one."""
    best, expected = best_trial(storage), best_trial(undisturbed)
    broken = [] if best == expected else [f"the best trial is {best}, undisturbed it is {expected}"]
    for table, keys in KEYS.items():
        ours, theirs = (_frame(where, table).set_index(keys) for where in (storage, undisturbed))
        broken += [f"{table}: {key} is missing" for key in theirs.index.difference(ours.index)]
        broken += [f"{table}: {key} is not in the undisturbed run" for key in ours.index.difference(theirs.index)]
        both = theirs.index.intersection(ours.index)
        ours, theirs = ours.loc[both], theirs.loc[both]
        for column in theirs.columns:
            unequal = (ours[column] != theirs[column]) & ~(ours[column].isna() & theirs[column].isna())
            for key in both[unequal]:
                broken.append(
                    f"{table}: {column} of {key} is {ours.loc[key, column]!r}, undisturbed {theirs.loc[key, column]!r}"
                )
    return broken


def best_trial(storage: Path) -> str | None:
    """The search trial with the lowest validation perplexity among those trained in full."""
    rows = read_table(str(storage), "trials").to_pylist()
    full = [row for row in rows if may_win_search(row["block"], row["status"])]
    return min(full, key=lambda row: (row["best_valid_ppl"], row["trial_id"]), default={"trial_id": None})["trial_id"]


def optuna_trials(storage: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of the one journal of a storage."""
    found: list[optuna.trial.FrozenTrial] = []
    for journal in (storage / "optuna").glob("*.journal"):
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        found += optuna.load_study(study_name=journal.stem, storage=optuna.storages.JournalStorage(backend)).trials
    return found


def _frame(storage: Path, table: str) -> pd.DataFrame:
    rows = read_table(str(storage), table).to_pandas().drop(columns=TIMES + DEATHS, errors="ignore")
    return rows.drop_duplicates(KEYS[table])  # duplicates are reported by `Watch`


def _load(path: Path) -> Any:
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read()
    if path.suffix == ".pt":
        return torch.load(path, map_location="cpu", weights_only=True)
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    return None


def _epoch(key: tuple[str, int]) -> str:
    return f"epoch {key[1]} of {key[0]}"


def always(storage: Path) -> Iterator[str]:
    """Violations of what must hold at any moment, besides ``Watch``."""
    yield from unreadable(storage)
    yield from read_test_early(storage)
    yield from not_evaluated(storage)


def at_the_end(storage: Path, undisturbed: Path) -> Iterator[str]:
    """Violations of what must hold after a study has ended."""
    yield from left_open(storage)
    yield from differences(storage, undisturbed)
