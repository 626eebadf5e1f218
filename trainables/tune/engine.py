"""The pack engine: one process per device that trains many Ray Tune trials in one pack.

Every trial is an ordinary Tune trial (``PackedTrainable``) to searcher, scheduler and records; its steps are requests
to the engine. Trials enter and leave at epoch boundaries, as requests do in the continuous batching of language-model
servers: the next trial takes a slot that ASHA frees while the others keep training. One trial's failure is reported to
that trial only.

If the engine's process dies, Ray restarts it and repeats the unanswered requests; each trial is admitted again from its
last checkpoint.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from trainables.config import TrialConfig
from trainables.pack.pack import Pack, PackSlot
from trainables.trial.trial_run import Texts, TrialJob, TrialRun

REQUEST_TIMEOUT_S = 10.0
"""Seconds at an epoch's boundary after which a trial without a request loses its slot: its actor is gone. Its next
request admits it again from its checkpoint."""


class PackEngine:
    """Trains the trials of one device in a pack; ``epoch`` is called by many threads at once, one per trial.

    Args:
        template: a trial of the pack's shape.
        num_slots: K.
        train: token ids, shape (N,).
        texts: the splits that trials are evaluated on.
        device: where.
        precision: of the matrix products.
    """

    def __init__(
        self,
        template: TrialConfig,
        num_slots: int,
        train: np.ndarray,
        texts: Texts,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        self._pack = Pack(template, train, num_slots, device=device, precision=precision)
        self._num_slots, self._texts, self._device = num_slots, texts, device
        self._changed = threading.Condition()
        self._requests: dict[str, TrialJob] = {}
        self._reports: dict[str, dict[str, Any] | Exception] = {}
        self._runs: dict[str, tuple[TrialRun, int]] = {}  # trial -> its run and its slot; changed by the loop only
        self._leaving: set[str] = set()
        threading.Thread(target=self._loop, daemon=True).start()

    def load(self) -> int:
        """Trials in the pack or waiting for a slot."""
        with self._changed:
            return len((set(self._runs) | set(self._requests)) - self._leaving)

    def epoch(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Waits for and returns the report of the trial's next epoch; the trial is admitted when a slot is free.

        Raises:
            Exception: the trial's failure.
        """
        wanted = TrialJob(**job)
        key = _key(wanted)
        with self._changed:
            self._requests[key] = wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: key in self._reports)
            report = self._reports.pop(key)
        if isinstance(report, Exception):
            raise report
        return report

    def leave(self, job: Mapping[str, Any]) -> None:
        """Frees the trial's slot at the next epoch's boundary."""
        with self._changed:
            self._leaving.add(_key(TrialJob(**job)))
            self._changed.notify_all()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._requests))
                # An epoch is computed for the whole pack: wait until each trial has requested the next one or left.
                self._changed.wait_for(
                    lambda: set(self._runs) <= set(self._requests) | self._leaving, timeout=REQUEST_TIMEOUT_S
                )
                # A trial that left and requests again is admitted anew: it may have trained elsewhere in between.
                for key in (set(self._runs) - set(self._requests)) | self._leaving:
                    self._release(key)
                self._leaving.clear()
                self._admit()
                due = [key for key in self._requests if key in self._runs]
            reports = self._compute(due)
            with self._changed:
                for key, report in reports.items():
                    self._requests.pop(key, None)
                    self._reports[key] = report
                    if isinstance(report, Exception) or report.get("done"):
                        self._release(key)
                self._changed.notify_all()

    def _admit(self) -> None:
        for key, job in list(self._requests.items()):
            if key in self._runs or len(self._runs) == self._num_slots:
                continue
            try:
                run = TrialRun(job, self._texts, self._device)
                self._runs[key] = run, self._pack.admit(run.config, run.training_state)
            except Exception as error:  # reported to this trial only
                self._requests.pop(key)
                self._reports[key] = error
        self._changed.notify_all()

    def _release(self, key: str) -> None:
        if key in self._runs:
            _, slot = self._runs.pop(key)
            self._pack.release(slot)

    def _compute(self, due: Sequence[str]) -> dict[str, dict[str, Any] | Exception]:
        """Reports of the due trials' next epoch: from their checkpoints if some have one there, else trained."""
        reports: dict[str, dict[str, Any] | Exception] = {}
        for key in due:
            if (row := self._runs[key][0].replay()) is not None:
                reports[key] = row
        if reports or not due:
            return reports  # the other trials wait for the next call
        started = time.monotonic()
        try:
            epochs = self._pack.train_epoch()
            losses = self._pack.evaluate(self._texts.valid, eos_id=self._texts.eos_id)
        except Exception as error:  # the device's failure: every trial restarts from its checkpoint
            return dict.fromkeys(due, error)
        share = (time.monotonic() - started) / len(due)  # of the epoch's time, which the trials shared
        for key in due:
            run, slot = self._runs[key]
            try:
                reports[key] = run.finish_epoch(
                    PackSlot(self._pack, slot), epochs[slot], losses.get(slot, math.nan), seconds=lambda: share
                )
            except Exception as error:
                reports[key] = error
        return reports


def _key(job: TrialJob) -> str:
    return f"{job.study}/{job.trial_id}"


class PackActor(PackEngine):
    """The engine as a Ray actor, one per device and shape."""

    def __init__(
        self,
        template: Mapping[str, Any],
        num_slots: int,
        precision: str,
        *,
        train: np.ndarray,
        valid: np.ndarray,
        test: Sequence[Any],
        eos_id: int,
    ) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu")
        texts = Texts(valid=valid, test=lambda: ray.get(test[0]), eos_id=eos_id)
        super().__init__(TrialConfig.from_dict(template), num_slots, train, texts, device, precision)


class PackedTrainable(tune.Trainable):
    """A trial whose steps a pack engine computes; its reports are those of ``VDLSTMTrainable``."""

    def setup(self, config: dict[str, Any], *, engines: Mapping[str, Sequence[Any]], texts: Sequence[Any]) -> None:
        """Selects the engine with the fewest trials.

        Args:
            config: a ``TrialJob`` as a dict.
            engines: variant -> handles of ``PackActor``.
            texts: references to the engines' splits, kept alive for an engine that is restarted.
        """
        self._texts = texts
        self._engines = engines
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        self._job, self._requested = config, False
        engines = self._engines[config["trial"]["variant"]]
        loads = ray.get([engine.load.remote() for engine in engines])
        self._engine = engines[loads.index(min(loads))]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leaves the slot and starts another trial."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch, computed by the engine."""
        self._requested = True
        return ray.get(self._engine.epoch.remote(self._job))

    def cleanup(self) -> None:
        """Leaves the slot if this actor requested it: Tune also makes actors for trials that another one then runs."""
        if self._requested:
            ray.get(self._engine.leave.remote(self._job))
