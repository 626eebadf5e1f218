"""A real study as processes and a storage, to inject faults into."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from subprocess import Popen

from study.records.records import read_table
from tests.chaos.invariants import Watch, always, at_the_end
from tests.support.processes import Machine

# One trial at a time: only then do TPE and ASHA see the same history whatever happens in between.
COMMAND = (
    "study.run", "--variant", "real", "--size", "tiny", "--corpus", "toy", "--num-samples", "6", "--seeds", "2",
    "--max-concurrent", "1", "--gpus-per-trial", "0",
)  # fmt: skip
POLL_S = 0.2
# For a driver to finish an epoch or end. Ray waits up to a minute for lost processes, and a start takes half a minute
# on a busy machine.
PATIENCE_S = 300.0
# Ray's own processes that change their title; any other such process is an actor.
_TITLES = {"ray::IDLE": "idle worker", "ray::DashboardAgent": "agent", "ray::RuntimeEnvAgent": "environment agent"}


class BrokenError(Exception):
    """Invariants are broken; a line for each."""


class RunningStudy:
    """A study and its driver.

    Args:
        command: of the driver, but for ``--storage``.
        storage: of the study; a folder that is not there yet.
    """

    def __init__(self, command: tuple[str, ...], storage: Path) -> None:
        self.command_without_storage = command
        self.command = (*command, "--storage", str(storage))
        self.storage, self.machine = storage, Machine()
        storage.mkdir()
        self.watch = Watch(storage)
        self.driver: Popen[bytes] | None = None
        self.started_at = 0.0
        self.may_end = False
        """Whether the driver has met a fault that it need not survive."""
        self.must_explain = False
        """Whether it must print why it ends."""
        self._log_begin = self._num_epochs_before = 0
        self.storage_patience_s = 0.0
        """How long this driver waits for an unavailable storage."""
        self.num_starts = 0

    @property
    def num_epochs(self) -> int:
        """Epochs on record at the last ``look``."""
        return len(self.watch.seen)

    @property
    def has_begun(self) -> bool:
        """Whether the driver has finished an epoch since it was started."""
        return self.num_epochs > self._num_epochs_before

    @property
    def num_ended(self) -> int:
        """Trials whose end is on record."""
        return sum(s != "interrupted" for s in read_table(str(self.storage), "trials")["status"].to_pylist())

    @property
    def status(self) -> int | None:
        """The driver's exit status; None while it lives."""
        assert self.driver is not None
        return self.driver.poll()

    def start(self, *, storage_patience_s: float = 300.0) -> None:
        """Starts a driver."""
        self._log_begin = self.machine.log.stat().st_size if self.machine.log.exists() else 0
        self._num_epochs_before = self.num_epochs
        self.storage_patience_s = storage_patience_s
        self.driver = self.machine.start(*self.command, STUDY_STORAGE_PATIENCE_S=str(storage_patience_s))
        self.started_at, self.may_end, self.must_explain = time.monotonic(), False, False
        self.num_starts += 1

    @property
    def age_s(self) -> float:
        """Seconds since the driver was started."""
        return time.monotonic() - self.started_at

    def processes(self) -> dict[int, str]:
        """Living processes of the study: id -> name."""
        assert self.driver is not None
        found = {pid: name(line) for pid, line in sorted(self.machine.processes().items()) if line}
        return {pid: "driver" if pid == self.driver.pid else of for pid, of in found.items()}

    def send(self, pid: int, what: signal.Signals) -> bool:
        """Sends a signal to a process of this study, if it still is one."""
        if pid not in self.machine.processes():
            return False
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            return False
        return True

    def look(self) -> None:
        """Notes the epochs on record.

        Raises:
            BrokenError: if one is lost, changed or recorded twice.
        """
        _raise(self.watch.look())

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Waits until a condition holds, checking the epochs meanwhile; returns whether it held in time."""
        deadline = time.monotonic() + seconds
        while not (done := until()) and time.monotonic() < deadline:
            time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
            self.look()
        return done

    def wait_for_progress(self) -> None:
        """Waits for one more epoch or the driver's end.

        Raises:
            BrokenError: if neither comes.
        """
        epochs = self.num_epochs
        self.wait_for_driver(lambda: self.num_epochs > epochs)

    def wait_for_driver(self, until: Callable[[], bool]) -> None:
        """Waits until a condition holds or the driver has ended.

        Raises:
            BrokenError: if neither comes.
        """
        if not self.wait(PATIENCE_S, lambda: self.status is not None or until()):
            raise BrokenError(f"the driver neither finished an epoch nor ended in {PATIENCE_S:.0f} s")

    def check(self) -> None:
        """Checks what must hold at any moment.

        Raises:
            BrokenError: if it does not.
        """
        self.look()
        _raise(always(self.storage))

    def check_end(self, undisturbed: Path) -> None:
        """Checks what must hold of a study that has ended.

        Raises:
            BrokenError: if it does not.
        """
        self.check()
        _raise(at_the_end(self.storage, undisturbed))

    def check_explained(self) -> None:
        """Checks that the ended driver has printed why.

        Raises:
            BrokenError: if it has ended with a traceback instead.
        """
        said = self.machine.log.read_bytes()[self._log_begin :].decode(errors="replace")
        if self.must_explain and ("Traceback" in said or not ("error:" in said or "interrupted" in said)):
            raise BrokenError("the driver did not say why it ended, or with a traceback")

    def log_tail(self, lines: int = 40) -> str:
        """The end of the drivers' output."""
        text = self.machine.log.read_text(errors="replace") if self.machine.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """Kills its processes and deletes its files."""
        self.machine.close()
        shutil.rmtree(self.storage, ignore_errors=True)


def name(line: str) -> str:
    """What a command line runs: ``raylet``, ``gcs_server``, ``dashboard``, ``worker``, ..."""
    first, *others = line.split()
    if first.startswith("ray::"):
        return _TITLES.get(first, "worker")
    script = next((word for word in others if word.endswith(".py")), None)
    if "-m" in others[:-1] and script is None:
        return others[others.index("-m") + 1]
    return PurePath(script or first).stem


def _raise(broken: Iterator[str] | list[str]) -> None:
    if lines := list(broken):
        raise BrokenError("\n".join(lines))
