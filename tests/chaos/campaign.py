"""Injects faults one after another, until the time is up or an invariant is broken."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.study import COMMAND, BrokenError, RunningStudy

_IMPATIENT_S, _PATIENT_S = 3.0, 300.0
_LONGEST_PAUSE_S = 4.0  # an epoch takes less than one


@dataclass(kw_only=True)
class Campaign:
    """Studies and their faults.

    Seed and n alone fix the n-th fault and its time; which process it meets, and in which state, also depends on the
    machine's speed.
    """

    folder: Path
    """For the studies' storages: a separate disk if ``small_disk``."""
    seed: int
    small_disk: bool
    max_epochs: int = 5
    """Of a trial."""
    say: Callable[[str], None] = print
    faults: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    """The log, a line per fault."""
    num_studies: int = 0
    num_starts: int = 0
    study: RunningStudy | None = None
    """The one that is running."""
    _begun: float = field(default_factory=time.monotonic)

    @property
    def num_faults(self) -> int:
        """Faults survived."""
        return self.faults.total()

    def run(self, *, minutes: float, max_faults: int | None = None) -> None:
        """Injects faults until the time is up or their number is reached, and then lets the last study end.

        Raises:
            BrokenError: at the first broken invariant.
        """
        reference, start_s = self._undisturbed()
        self._begun = time.monotonic()

        def enough() -> bool:
            return time.monotonic() - self._begun >= 60 * minutes or self.num_faults == max_faults

        while not enough():
            self.num_studies += 1
            self.study = RunningStudy(reference.command_without_storage, self.folder / f"study-{self.num_studies}")
            self._one_study(self.study, reference, start_s, enough)
            self.study.close()
            self.study = None
        reference.close()

    def _undisturbed(self) -> tuple[RunningStudy, float]:
        """Runs a study without faults; returns it and the seconds until its first epoch."""
        self._tell(f"seed {self.seed}; an undisturbed run first")
        command = (*COMMAND, "--max-epochs", str(self.max_epochs), "--search-seed", str(self.seed))
        self.study = study = RunningStudy(command, self.folder / "undisturbed")
        study.start()
        study.wait_for_progress()
        start_s = study.age_s
        while study.status is None:
            study.wait_for_progress()
        if study.status != 0:
            raise BrokenError(f"the undisturbed run ended with {study.status}")
        study.check_end(study.storage)
        study.machine.close()
        self._tell(f"undisturbed: {study.num_epochs} epochs in {study.age_s:.1f} s, the first after {start_s:.1f} s")
        return study, start_s

    def _one_study(
        self, study: RunningStudy, reference: RunningStudy, start_s: float, enough: Callable[[], bool]
    ) -> None:
        self._start(study)
        while study.status != 0:
            if study.status is None:
                if enough():
                    study.wait_for_progress()
                else:
                    self._one_fault(study, reference, start_s)
            elif study.may_end:
                self._start(study)
            else:
                raise BrokenError(f"the driver ended with {study.status}, and should have gone on")
        study.check_end(reference.storage)
        self._tell(f"study {self.num_studies} is as if nothing had happened, after {study.num_starts} starts")

    def _start(self, study: RunningStudy) -> None:
        # A third of the drivers have little patience with the storage.
        impatient = Random(f"{self.seed}/{self.num_studies}/{study.num_starts}").random() < 1 / 3
        study.start(storage_patience_s=_IMPATIENT_S if impatient else _PATIENT_S)
        self.num_starts += 1

    def _one_fault(self, study: RunningStudy, reference: RunningStudy, start_s: float) -> None:
        number = self.num_faults + 1
        draw = Random(f"{self.seed}/{number}")
        fault = draw_fault(draw, small_disk=self.small_disk)
        phase = self._pause(study, draw, reference.num_epochs, start_s)
        if study.status is not None:  # it has ended before the fault came
            return
        before, begun = study.num_epochs, time.monotonic()
        where = f"study {self.num_studies}, {phase}, {before}/{reference.num_epochs} epochs"
        study.may_end |= not fault.survived
        study.must_explain = False
        whom = "?"
        try:
            whom = fault.inject(study, draw)
            then = self._settle(study)
            study.check()
        except BrokenError:
            self._tell(f"#{number:<3} {where}: {fault.name}: {whom}; BROKEN")
            raise
        self.faults[fault.name] += 1
        self._tell(f"#{number:<3} {where}: {fault.name}: {whom}; {then} after {time.monotonic() - begun:.1f} s")

    def _pause(self, study: RunningStudy, draw: Random, num_epochs: int, start_s: float) -> str:
        """Waits for the time of the next fault; returns the phase of the study."""
        (phase,) = draw.choices(["start", "epoch", "trial's end", "study's end"], [4, 8, 3, 1])
        seconds = draw.uniform(0.0, {"start": start_s, "epoch": _LONGEST_PAUSE_S}.get(phase, 1.0))
        early, ended = draw.randint(0, 1), study.num_ended
        if phase == "start":
            seconds = max(0.0, seconds - study.age_s)
        elif phase == "epoch":
            study.wait_for_progress()
        elif phase == "trial's end":
            self._wait_with_progress(study, lambda: study.num_ended > ended)
        else:
            self._wait_with_progress(study, lambda: study.num_epochs >= num_epochs - early)
        study.wait(seconds, lambda: study.status is not None)
        return phase

    def _wait_with_progress(self, study: RunningStudy, until: Callable[[], bool]) -> None:
        while study.status is None and not until():
            epochs = study.num_epochs
            study.wait_for_driver(lambda epochs=epochs: study.num_epochs > epochs or until())

    def _settle(self, study: RunningStudy) -> str:
        """Waits for the effect of a fault: another epoch, or the driver's end."""
        study.wait_for_progress()
        if study.status is None:
            return "went on"
        if study.status == 0:
            return "finished"
        if not study.may_end:
            raise BrokenError(f"the driver ended with {study.status}, and should have gone on")
        study.check_explained()
        return f"ended ({study.status})"

    def _tell(self, line: str) -> None:
        line = f"{time.monotonic() - self._begun:7.1f} s  {line}"
        self.lines.append(line)
        self.say(line)


def draw_fault(draw: Random, *, small_disk: bool) -> Fault:
    """One of the faults that are possible here."""
    possible = [fault for fault in FAULTS if small_disk or not fault.needs_disk]
    return draw.choices(possible, [fault.weight for fault in possible])[0]
