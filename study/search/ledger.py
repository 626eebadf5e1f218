"""The ledger of one study: the state of each trial, in memory and in the records.

The ledger alone writes the ``trials``, ``epochs``, ``evaluations`` and ``token_scores`` tables, and a study that starts
again reads its ledger from them. An epoch may be reported twice, as a lost trial restarts from its last checkpoint: it
is recorded once.

The driver waits for the storage at a trial's start and end alone. Writes in between are queued in order: until a trial
has ended, its last checkpoint holds the rows of all its epochs, and the next driver gets the missing ones from there.

Sums that the driver needs at every step are kept up to date, not counted anew.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from study.records.evaluations import evaluations_of
from study.records.records import EPOCHS, Records, Setting
from study.records.trials import BEST_FIRST, SEARCH_BLOCKS, may_win_search
from study.spec.spec import StudySpec
from trainables.config import TrialConfig
from trainables.models import num_params
from trainables.recipes import NUMERICS

_NOT_REPORTED = {"study", "trial_id", "attempt", "block"}
_EPOCH_COLUMNS = [name for name in EPOCHS.names if name not in _NOT_REPORTED]
_CONFIG_COLUMNS = [field.name for field in dataclasses.fields(TrialConfig) if field.name not in Setting._fields]


@dataclass(kw_only=True)
class TrialRecord:
    """One trial of a study and its progress."""

    trial_id: str
    block: str
    config: TrialConfig
    origin: str | None = None
    """Of a select or confirm trial: ``paper``, or the search trial whose configuration it repeats."""
    audit: bool = False
    optuna_number: int | None = None
    attempt: int = 0
    status: str = "interrupted"
    stopped_by: str | None = None
    would_stop_epoch: int | None = None
    """The epoch at which ASHA stopped it or, if it is exempt, would have."""
    error: str | None = None
    valid_ppl: dict[int, float] = field(default_factory=dict)
    """Epoch -> validation perplexity, of all epochs on record."""
    device_s: float = 0.0
    num_params: int | None = None
    evaluations: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """(evaluator, split, measure) -> value on its best weights."""
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    running: bool = False
    """Whether it is being trained in this run."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The recorded epochs of this attempt; emptied when the trial ends."""

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
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
        """Reads the study's records.

        Raises:
            StorageError: if the storage cannot be read.
        """
        self.spec, self.storage = spec, storage
        self.records = Records(storage, spec.setting, spec.name)
        self._git_commit = git_commit
        self.trials: dict[str, TrialRecord] = {}
        self.running: dict[str, TrialRecord] = {}
        """Trials that are being trained in this run, by id."""
        self.waiting: dict[str, TrialRecord] = {}
        """Interrupted trials that are not being trained, by id."""
        self.num_epochs = 0
        """Epochs on record, of all trials."""
        self.best_valid_ppl = math.inf
        """Of the search, or of all trials where nothing is searched; infinite before the first epoch."""
        self._blocks: dict[str, list[TrialRecord]] = {}
        self._statuses: Counter[str] = Counter()
        self._ranked: list[TrialRecord] = []
        for row in sorted(self.records.read("trials"), key=lambda r: (r["started_at"], r["trial_id"])):
            self.trials[row["trial_id"]] = self._from_record(row)
        # If a driver died between the two writes, the epochs are of a later attempt than the trial's row.
        for name, attempt in self.records.attempts("epochs").items():
            if name in self.trials:
                self.trials[name].attempt = max(self.trials[name].attempt, attempt)
        for row in sorted(self.records.read("evaluations"), key=lambda r: r["attempt"]):
            if trial := self.trials.get(row["trial_id"]):
                trial.evaluations[row["evaluator"], row["split"], row["measure"]] = row["value"]
        for row in self.records.read("epochs"):
            if trial := self.trials.get(row["trial_id"]):
                trial.valid_ppl[row["epoch"]] = row["valid_ppl"]
                if not trial.ended:
                    trial.device_s += row["epoch_s"] or 0.0
        for trial in self.trials.values():
            self._add(trial)
            self.num_epochs += trial.num_epochs
            self._note_best(trial, trial.best_valid_ppl or math.inf)

    def _note_best(self, trial: TrialRecord, valid_ppl: float) -> None:
        # The luckiest of the fresh seeds is no result of the search.
        if trial.block in SEARCH_BLOCKS or self.spec.is_recipe_only:
            self.best_valid_ppl = min(self.best_valid_ppl, valid_ppl)

    def in_block(self, *blocks: str) -> list[TrialRecord]:
        """The trials of the given blocks, in the order in which they were first started."""
        if len(blocks) == 1:
            return list(self._blocks.get(blocks[0], ()))
        return [trial for trial in self.trials.values() if trial.block in blocks]

    def num_in_block(self, *blocks: str) -> int:
        """How many trials of the given blocks have been started."""
        return sum(len(self._blocks.get(block, ())) for block in blocks)

    def num_of_status(self, status: str) -> int:
        """How many trials have a status; running ones count as interrupted."""
        return self._statuses[status]

    @property
    def num_ended(self) -> int:
        """How many trials have ended."""
        return len(self.trials) - self._statuses["interrupted"]

    def is_open(self, *blocks: str) -> bool:
        """Whether a trial of the given blocks has not ended."""
        return any(t.block in blocks for trials in (self.running, self.waiting) for t in trials.values())

    def start(self, trial: TrialRecord) -> None:
        """Records a new attempt of a trial before it is trained.

        Without this record the next driver would give the id to another trial, which would find this one's checkpoint.
        """
        if trial.trial_id not in self.trials:
            self.trials[trial.trial_id] = trial
            self._add(trial)
        trial.attempt += 1
        trial.running, trial.rows = True, []
        trial.started_at = trial.started_at or _now()
        self.waiting.pop(trial.trial_id)
        self.running[trial.trial_id] = trial
        self._write_trial(trial)

    def release(self, trial: TrialRecord) -> None:
        """Marks a running trial as waiting, to be resumed later."""
        if not trial.ended and trial.running:
            trial.running = False
            self.waiting[trial.trial_id] = self.running.pop(trial.trial_id)

    def record_epoch(self, trial: TrialRecord, result: Mapping[str, Any]) -> bool:
        """Records a finished epoch; returns False if it was on record already."""
        trial.num_params = result.get("num_params") or trial.num_params
        epoch = result["epoch"]
        known = epoch in trial.valid_ppl
        trial.valid_ppl.setdefault(epoch, result["valid_ppl"])
        # Also of a known epoch: an earlier version recorded them at the trial's end, and may have died before.
        if evaluations := result.get("evaluations") or evaluations_of(result):
            trial.evaluations |= {(e["evaluator"], e["split"], e["measure"]): e["value"] for e in evaluations}
            measured = [self._weights_row(trial) | evaluation for evaluation in evaluations]
            self.records.write_behind("evaluations", trial.trial_id, trial.attempt, measured)
        if known:
            return False
        row = {name: result.get(name) for name in _EPOCH_COLUMNS}
        row |= {"study": self.records.study, "trial_id": trial.trial_id, "attempt": trial.attempt, "block": trial.block}
        if scores := result.get("token_scores"):  # before the epoch's row: a recorded epoch is not reported again
            scored = [
                self._weights_row(trial) | {"split": split, "num_tokens": len(values), "log_probs": values.tolist()}
                for split, values in scores.items()
            ]
            self.records.write_behind("token_scores", trial.trial_id, trial.attempt, scored)
        trial.rows.append(row)
        self.records.write_behind("epochs", trial.trial_id, trial.attempt, trial.rows)
        trial.device_s += result.get("epoch_s") or 0.0
        self.num_epochs += 1
        self._note_best(trial, result["valid_ppl"])
        return True

    def note_stop(self, trial: TrialRecord, epoch: int) -> None:
        """Records ASHA's decision before the epoch's row and the trial's end: a second decision could differ.

        If the driver dies before both writes, the epoch is reported again and ASHA decides again.
        """
        if trial.would_stop_epoch is None:
            trial.would_stop_epoch = epoch
            self.records.write_behind("trials", trial.trial_id, trial.attempt, [self._row(trial)])

    def end(self, trial: TrialRecord, status: str, *, stopped_by: str, error: str | None = None) -> None:
        """Records the end of a trial after all its epochs; does nothing if it has ended already."""
        if trial.ended:
            return
        self._statuses.subtract([trial.status])
        trial.status, trial.stopped_by, trial.error = status, stopped_by, error
        self._statuses.update([trial.status])
        trial.ended_at, trial.running = _now(), False
        self.running.pop(trial.trial_id, None)
        self.waiting.pop(trial.trial_id, None)
        self._rank(trial)
        self._write_trial(trial)
        trial.rows = []

    @property
    def ranked(self) -> Sequence[TrialRecord]:
        """The search's trials that were trained in full, lowest validation perplexity first."""
        return self._ranked

    def _add(self, trial: TrialRecord) -> None:
        self._blocks.setdefault(trial.block, []).append(trial)
        self._statuses.update([trial.status])
        if not trial.ended:
            self.waiting[trial.trial_id] = trial
        self._rank(trial)

    def _rank(self, trial: TrialRecord) -> None:
        if may_win_search(trial.block, trial.status):
            bisect.insort(self._ranked, trial, key=attrgetter(*BEST_FIRST))

    def _write_trial(self, trial: TrialRecord) -> None:
        self.records.write("trials", trial.trial_id, trial.attempt, [self._row(trial)])

    def _row(self, trial: TrialRecord) -> dict[str, Any]:
        config = {name: getattr(trial.config, name) for name in _CONFIG_COLUMNS}
        return config | {
            "study": self.records.study,
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
            "num_params": trial.num_params or num_params(trial.config),
            "device_s": trial.device_s,
            "error": trial.error,
            "precision": self.spec.precision,
            "numerics": NUMERICS,
            "git_commit": self._git_commit,
            "started_at": trial.started_at,
            "ended_at": trial.ended_at,
        }

    def _weights_row(self, trial: TrialRecord) -> dict[str, Any]:
        """The columns that ``evaluations`` and ``token_scores`` share: whose weights were measured."""
        return {
            "study": self.records.study,
            "trial_id": trial.trial_id,
            "attempt": trial.attempt,
            "seed": trial.config.seed,
            "epoch": trial.best_epoch,
            "recorded_at": _now(),
        }

    def _from_record(self, row: Mapping[str, Any]) -> TrialRecord:
        setting = self.spec.setting
        # Null is None, or was not recorded by the version that wrote the row: both are the default.
        config = {name: row[name] for name in _CONFIG_COLUMNS if row[name] is not None}
        config |= {"variant": setting.variant, "size": setting.size, "corpus": setting.corpus}
        return TrialRecord(
            config=TrialConfig.from_dict(config),
            # The row of an interrupted trial is from its start: its seconds are summed over its epochs.
            device_s=row["device_s"] if row["status"] != "interrupted" else 0.0,
            **{
                name: row[name]
                for name in (
                    "trial_id", "block", "origin", "audit", "optuna_number", "attempt", "status", "stopped_by",
                    "would_stop_epoch", "error", "num_params", "started_at", "ended_at",
                )
            },
        )  # fmt: skip


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
