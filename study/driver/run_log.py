"""The ``runs`` table of the studies that a driver runs: provenance, budget, heartbeat and outcome."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from typing import Any

from ray import tune

from study.search.searcher import NotRestored
from study.search.setting_search import SettingSearch
from study.spec.spaces import space_hash
from study.spec.spec import REDUCTION_FACTOR
from trainables.models import num_params

_HEARTBEAT_S = 30.0


class RunLog(NotRestored, tune.Callback):
    """Writes a row per study and start of a driver, and its heartbeat."""

    def __init__(self, settings: Sequence[SettingSearch], columns: dict[str, Any], started: dt.datetime) -> None:
        self._settings, self._columns, self._started = list(settings), columns, started
        self._begun = self._last_beat = time.monotonic()
        self._numbers = [setting.ledger.records.attempts("runs").get("run", 0) + 1 for setting in settings]
        self.write("running")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Updates the heartbeat, every 30 s.

        Raises:
            StorageError: if a queued write has failed.
        """
        for setting in self._settings:
            setting.ledger.records.queue.check()
        if time.monotonic() - self._last_beat >= _HEARTBEAT_S:
            self.write("running")

    def write(self, outcome: str, *, ended: bool = False) -> None:
        """Records the state of the run; its end after all queued writes."""
        self._last_beat = time.monotonic()
        now = dt.datetime.now(dt.UTC)
        for setting, number in zip(self._settings, self._numbers, strict=True):
            spec = setting.spec
            row = self._columns | {
                "study": setting.ledger.records.study,
                "run": number,
                "started_at": self._started,
                "heartbeat_at": now,
                "ended_at": now if ended else None,
                "outcome": outcome,
                "search_seed": spec.search_seed,
                "space_hash": space_hash(spec.setting),
                "num_samples": spec.num_samples,
                "max_epochs": spec.max_epochs,
                "num_seeds": spec.num_seeds,
                "grace_period": spec.grace_period,
                "reduction_factor": REDUCTION_FACTOR,
                "hidden_size": spec.paper.hidden_size,
                "num_params": num_params(spec.paper),
                "precision": spec.precision,
            }
            if ended:
                setting.ledger.records.flush()
                setting.ledger.records.write("runs", "run", number, [row])
            else:
                setting.ledger.records.write_behind("runs", "run", number, [row])


def close_killed_runs(setting: SettingSearch) -> None:
    """Records the end of runs whose driver was killed. The caller holds the study, so no other run is live."""
    for row in setting.ledger.records.read("runs"):
        if row["outcome"] == "running":
            ended = row | {"outcome": "interrupted", "ended_at": row["heartbeat_at"]}
            setting.ledger.records.write("runs", "run", row["run"], [ended])
