"""The ledger of one study: what each of its trials is and how far it has come, kept in the records.

The ledger alone writes the ``trials`` and ``epochs`` tables, and a study that starts again reads its ledger back from
them. Reports may come twice (Ray restarts a lost trial from its last checkpoint, which reports again): an epoch that
is on record is never recorded again.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from study.records import EPOCHS, Records
from study.spec import StudySpec
from trainables.config import TrialConfig

SEARCH_BLOCKS = ("default", "random", "tpe")
_NOT_REPORTED = {"study", "trial_id", "attempt", "block"}
_EPOCH_COLUMNS = [name for name in EPOCHS.names if name not in _NOT_REPORTED]
_CONFIG_COLUMNS = (
    "seed", "max_epochs", "drop_prob", "input_dropout", "lr", "lr_decay", "lr_decay_start_epoch", "max_grad_norm",
    "init_range", "gamma", "tau", "target_gradient", "second_session_epoch", "batch_size", "bptt",
)  # fmt: skip


@dataclass(kw_only=True)
class TrialState:
    """One trial of a study, as far as it has come."""

    trial_id: str
    block: str
    config: TrialConfig
    origin: str | None = None
    """Of a confirm trial: ``paper``, or the search trial whose configuration it repeats."""
    audit: bool = False
    optuna_number: int | None = None
    attempt: int = 0
    status: str = "interrupted"
    stopped_by: str | None = None
    would_stop_epoch: int | None = None
    """The epoch at which ASHA stopped it or, if it is protected, would have."""
    error: str | None = None
    valid_ppl: dict[int, float] = field(default_factory=dict)
    """Epoch -> validation perplexity, of all epochs on record."""
    device_s: float = 0.0
    num_params: int | None = None
    single_stream_valid_ppl: float | None = None
    test_ppl: float | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    running: bool = False
    """Whether a live actor is working on it in this run."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The epochs that this attempt has recorded, as written."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.status != "interrupted"

    @property
    def num_epochs(self) -> int:
        """Epochs on record."""
        return len(self.valid_ppl)

    @property
    def best_epoch(self) -> int | None:
        """The first epoch with the best validation perplexity."""
        return min(self.valid_ppl, key=lambda e: (self.valid_ppl[e], e)) if self.valid_ppl else None

    @property
    def best_valid_ppl(self) -> float | None:
        """The best validation perplexity of all epochs."""
        return min(self.valid_ppl.values()) if self.valid_ppl else None

    def best_valid_ppl_at(self, epoch: int) -> float:
        """The best validation perplexity up to an epoch; infinite before the first."""
        return min((ppl for e, ppl in self.valid_ppl.items() if e <= epoch), default=math.inf)


class Ledger:
    """The trials of one study, in memory and on record."""

    def __init__(self, spec: StudySpec, storage: str, *, git_commit: str | None = None) -> None:
        """Reads back what the storage holds of this study.

        Raises:
            StorageError: if the storage cannot be read.
        """
        self.spec, self.storage = spec, storage
        self.records = Records(storage, spec.cell, spec.name)
        self._git_commit = git_commit
        self.trials: dict[str, TrialState] = {}
        for row in sorted(self.records.read("trials"), key=lambda r: (r["started_at"], r["trial_id"])):
            self.trials[row["trial_id"]] = self._from_record(row)
        # The epochs' files may be ahead of the trial's row, whose writer died in between.
        for name, attempt in self.records.attempts("epochs").items():
            if name in self.trials:
                self.trials[name].attempt = max(self.trials[name].attempt, attempt)
        for row in self.records.read("epochs"):
            if trial := self.trials.get(row["trial_id"]):
                trial.valid_ppl[row["epoch"]] = row["valid_ppl"]
                if not trial.ended:
                    trial.device_s += row["epoch_s"] or 0.0

    def in_block(self, *blocks: str) -> list[TrialState]:
        """The trials of the given blocks, in the order in which they were first started."""
        return [trial for trial in self.trials.values() if trial.block in blocks]

    def start(self, trial: TrialState) -> None:
        """Puts a new attempt of a trial on record, before any work is done for it."""
        self.trials[trial.trial_id] = trial
        trial.attempt += 1
        trial.status, trial.running, trial.rows = "interrupted", True, []
        trial.started_at = trial.started_at or _now()
        self._write_trial(trial)

    def record_epoch(self, trial: TrialState, result: Mapping[str, Any]) -> bool:
        """Records a finished epoch; False if it is on record already, and nothing is done."""
        for name in ("num_params", "single_stream_valid_ppl", "test_ppl"):
            if result.get(name) is not None:
                setattr(trial, name, result[name])
        epoch = result["epoch"]
        if epoch in trial.valid_ppl:
            return False
        row = {name: result.get(name) for name in _EPOCH_COLUMNS}
        row |= {"study": self.spec.name, "trial_id": trial.trial_id, "attempt": trial.attempt, "block": trial.block}
        self.records.write("epochs", trial.trial_id, trial.attempt, [*trial.rows, row])
        trial.rows.append(row)
        trial.valid_ppl[epoch] = result["valid_ppl"]
        trial.device_s += result.get("epoch_s") or 0.0
        return True

    def note_stop(self, trial: TrialState, epoch: int) -> None:
        """Puts ASHA's word on record before anything follows from it: it would not be the same the next time."""
        if trial.would_stop_epoch is None:
            trial.would_stop_epoch = epoch
            self._write_trial(trial)

    def end(self, trial: TrialState, status: str, *, stopped_by: str, error: str | None = None) -> None:
        """Puts the end of a trial on record; a trial that has ended stays as it is."""
        if trial.ended:
            return
        trial.status, trial.stopped_by, trial.error = status, stopped_by, error
        trial.ended_at, trial.running = _now(), False
        self._write_trial(trial)

    def best_of_search(self) -> TrialState | None:
        """The search trial that confirmation repeats: the lowest validation perplexity among those trained in full."""
        complete = [t for t in self.in_block(*SEARCH_BLOCKS) if t.status == "complete"]
        return min(complete, key=lambda t: (t.best_valid_ppl, t.trial_id), default=None)

    def _write_trial(self, trial: TrialState) -> None:
        config = {name: getattr(trial.config, name) for name in _CONFIG_COLUMNS}
        row = config | {
            "study": self.spec.name,
            "trial_id": trial.trial_id,
            "attempt": trial.attempt,
            "block": trial.block,
            "origin": trial.origin,
            "audit": trial.audit,
            "optuna_number": trial.optuna_number,
            "alpha": trial.config.alpha,
            "status": trial.status,
            "stopped_by": trial.stopped_by,
            "would_stop_epoch": trial.would_stop_epoch,
            "num_epochs": trial.num_epochs,
            "best_epoch": trial.best_epoch,
            "best_valid_ppl": trial.best_valid_ppl,
            "final_valid_ppl": trial.valid_ppl[max(trial.valid_ppl)] if trial.valid_ppl else None,
            "single_stream_valid_ppl": trial.single_stream_valid_ppl,
            "test_ppl": trial.test_ppl,
            "num_params": trial.num_params or trial.config.num_params,
            "device_s": trial.device_s,
            "error": trial.error,
            "precision": self.spec.precision,
            "git_commit": self._git_commit,
            "started_at": trial.started_at,
            "ended_at": trial.ended_at,
        }
        self.records.write("trials", trial.trial_id, trial.attempt, [row])

    def _from_record(self, row: Mapping[str, Any]) -> TrialState:
        cell = self.spec.cell
        config = {name: row[name] for name in _CONFIG_COLUMNS}
        config |= {"variant": cell.variant, "size": cell.size, "corpus": cell.corpus}
        return TrialState(
            config=TrialConfig.from_dict(config),
            # Of an interrupted trial the row is as old as its start: its seconds are added up from its epochs.
            device_s=row["device_s"] if row["status"] != "interrupted" else 0.0,
            **{
                name: row[name]
                for name in (
                    "trial_id", "block", "origin", "audit", "optuna_number", "attempt", "status", "stopped_by",
                    "would_stop_epoch", "error", "num_params", "single_stream_valid_ppl", "test_ppl", "started_at",
                    "ended_at",
                )
            },
        )  # fmt: skip


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
