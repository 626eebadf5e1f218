"""The pack engine: one process per device in which many trials train in one stack, and the thin trials in front of it.

Every trial stays an ordinary Ray Tune trial to searcher, scheduler and records; its steps are computed here. Trials
come and go at epoch boundaries, as requests do in the continuous batching of language-model servers: a slot that ASHA
frees is refilled by the next trial while the others go on. One trial's failure is reported to that trial alone.

If the engine's process dies, Ray starts it again and asks it anew for whatever it had not answered; each trial is
admitted again from its last checkpoint.
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

SILENCE_S = 10.0
"""A trial that asks for nothing for so long at an epoch's boundary loses its slot: its actor is gone. It is admitted
again from its checkpoint if it comes back."""


class PackEngine:
    """Holds the slots of one device; ``epoch`` is called by many threads at once, one per trial.

    Args:
        template: a trial's configuration; what it shares with all trials of the pack decides the stack's shape.
        num_slots: K.
        train: token ids, shape (N,).
        texts: what trials are evaluated on.
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
        self._asking: dict[str, TrialJob] = {}
        self._reports: dict[str, dict[str, Any] | Exception] = {}
        self._runs: dict[str, tuple[TrialRun, int]] = {}  # trial -> its run and its slot; the loop's alone to change
        self._leaving: set[str] = set()
        threading.Thread(target=self._loop, daemon=True).start()

    def load(self) -> int:
        """Trials that are in the stack or wait for it."""
        with self._changed:
            return len((set(self._runs) | set(self._asking)) - self._leaving)

    def epoch(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The report of the trial's next epoch; the trial is admitted when a slot is free.

        Raises:
            Exception: what went wrong with this trial.
        """
        wanted = TrialJob(**job)
        key = _key(wanted)
        with self._changed:
            self._asking[key] = wanted
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
                self._changed.wait_for(lambda: bool(self._asking))
                # An epoch is computed for the whole stack: wait for those who are about to ask or to leave.
                self._changed.wait_for(lambda: set(self._runs) <= set(self._asking) | self._leaving, timeout=SILENCE_S)
                # One that left and asks again is admitted again: it may have been elsewhere in between.
                for key in (set(self._runs) - set(self._asking)) | self._leaving:
                    self._release(key)
                self._leaving.clear()
                self._admit()
                due = [key for key in self._asking if key in self._runs]
            reports = self._compute(due)
            with self._changed:
                for key, report in reports.items():
                    self._asking.pop(key, None)
                    self._reports[key] = report
                    if isinstance(report, Exception) or report.get("done"):
                        self._release(key)
                self._changed.notify_all()

    def _admit(self) -> None:
        for key, job in list(self._asking.items()):
            if key in self._runs or len(self._runs) == self._num_slots:
                continue
            try:
                run = TrialRun(job, self._texts, self._device)
                self._runs[key] = run, self._pack.admit(run.config, run.training_state)
            except Exception as error:  # whatever it is, it is this trial's alone
                self._asking.pop(key)
                self._reports[key] = error
        self._changed.notify_all()

    def _release(self, key: str) -> None:
        if key in self._runs:
            _, slot = self._runs.pop(key)
            self._pack.release(slot)

    def _compute(self, due: Sequence[str]) -> dict[str, dict[str, Any] | Exception]:
        """One epoch of the trials that are due; a report that is in a checkpoint already costs nothing."""
        reports: dict[str, dict[str, Any] | Exception] = {}
        for key in due:
            if (row := self._runs[key][0].replay()) is not None:
                reports[key] = row
        if reports or not due:
            return reports  # the others wait a moment, so that the stack stays in step
        started = time.monotonic()
        try:
            epochs = self._pack.train_epoch()
            losses = self._pack.evaluate(self._texts.valid, eos_id=self._texts.eos_id)
        except Exception as error:  # the device's, so everybody's: each trial starts again from its checkpoint
            return dict.fromkeys(due, error)
        share = (time.monotonic() - started) / len(due)  # of the device's time, which the trials had together
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
    """A trial whose steps a pack engine computes; reports what ``VDLSTMTrainable`` reports."""

    def setup(self, config: dict[str, Any], *, engines: Mapping[str, Sequence[Any]], texts: Sequence[Any]) -> None:
        """Finds the engine with the most room.

        Args:
            config: a ``TrialJob`` as a dict.
            engines: variant -> handles of ``PackActor``.
            texts: references to what the engines read, held for an engine that is started again.
        """
        self._texts = texts
        self._engines = engines
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        self._job, self._asked = config, False
        engines = self._engines[config["trial"]["variant"]]
        loads = ray.get([engine.load.remote() for engine in engines])
        self._engine = engines[loads.index(min(loads))]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leaves the slot and takes over another trial."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch, computed by the engine."""
        self._asked = True
        return ray.get(self._engine.epoch.remote(self._job))

    def cleanup(self) -> None:
        """Leaves the slot, if this actor ever had it: Tune also makes actors for trials that another one then runs."""
        if self._asked:
            ray.get(self._engine.leave.remote(self._job))
