"""The faults: each function injects one into a study and returns a description of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.chaos.study import BrokenError, RunningStudy

_SIGNALS_S = 90.0  # for a driver to end in order
_REFUSAL_S = 120.0  # for a second driver to be refused; it imports Ray first
_LONGEST_STOP_S = 8.0
_LONGEST_FULL_S = 12.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault."""

    name: str
    inject: Callable[[RunningStudy, Random], str]
    """Injects it and returns its target."""
    weight: int
    survived: bool
    """Whether the driver must survive it."""
    needs_disk: bool = False
    """Whether the storage must have a small disk of its own."""


def kill_driver(study: RunningStudy, draw: Random) -> str:
    """SIGKILL for the driver alone."""
    assert study.driver is not None
    study.driver.kill()
    study.driver.wait()
    return f"the driver ({study.driver.pid})"


def kill_worker(study: RunningStudy, draw: Random) -> str:
    """SIGKILL for the process that trains, once there is one."""

    def workers() -> list[int]:
        return [pid for pid, name in study.processes().items() if name == "worker"]

    study.wait_for_driver(lambda: bool(workers()))
    return _kill(study, workers()[:1])


def kill_one(study: RunningStudy, draw: Random) -> str:
    """SIGKILL for any one process but the driver: Ray's own, or one that it has started."""
    assert study.driver is not None
    others = [pid for pid in study.processes() if pid != study.driver.pid]
    return _kill(study, [draw.choice(others)] if others else [])


def kill_several(study: RunningStudy, draw: Random) -> str:
    """SIGKILL for two or more at once."""
    pids = list(study.processes())
    return _kill(study, draw.sample(pids, draw.randint(min(2, len(pids)), len(pids))))


def kill_all(study: RunningStudy, draw: Random) -> str:
    """SIGKILL for all, as when the machine is lost."""
    return f"{study.machine.kill()} processes"


def stop_one(study: RunningStudy, draw: Random) -> str:
    """SIGSTOP for any one process, and SIGCONT some seconds later."""
    names = study.processes()
    pid, seconds = draw.choice(list(names)), draw.uniform(0.5, _LONGEST_STOP_S)
    with stopped(study, pid):
        study.wait(seconds)
    return f"{names[pid]} ({pid}) for {seconds:.1f} s"


def second_driver(study: RunningStudy, draw: Random) -> str:
    """Starts the same command a second time; in a third of the cases while the first driver is stopped."""
    assert study.driver is not None
    first, held = study.driver, draw.random() < 1 / 3 and study.num_epochs > 0
    log = study.machine.folder / f"second-{study.num_starts}-{time.monotonic_ns()}.txt"
    with stopped(study, first.pid) if held else contextlib.nullcontext():
        second = study.machine.start(*study.command, log=log)
        ended = study.wait(_REFUSAL_S, lambda: second.poll() is not None or first.poll() is not None)
    said = log.read_text(errors="replace")
    if second.poll() is None and first.poll() is not None:
        # The second was faster than the first, which was still starting, or the first had just finished.
        if first.returncode not in (0, 1) or (
            first.returncode == 1 and f"process {second.pid} " not in study.log_tail()
        ):
            raise BrokenError(f"the first driver ended with {first.returncode} when a second came")
        study.driver = second
        return f"{second.pid}, which came first"
    if not ended:
        raise BrokenError(f"the second driver ({second.pid}) was not refused in {_REFUSAL_S:.0f} s")
    if second.returncode == 1 and f"is being run by process {first.pid} " in said:
        return f"{second.pid}, refused{', the first held still' if held else ''}"
    if second.returncode == 0 and first.wait(_SIGNALS_S) == 0:
        return f"{second.pid}, which found the study finished"
    raise BrokenError(f"the second driver ended with {second.returncode} and did not name the first\n{said}")


def disk_full(study: RunningStudy, draw: Random) -> str:
    """Fills the disk for some seconds: longer than an impatient driver waits, or less."""
    seconds = draw.uniform(1.0, _LONGEST_FULL_S)
    impatient = seconds > study.storage_patience_s / 2
    study.must_explain = impatient and not study.may_end
    study.may_end |= impatient
    with full_disk(study, draw) as fill:
        study.wait(seconds, fill)
    return f"for {seconds:.1f} s{', which was too long for it' if impatient and study.status else ''}"


def disk_full_and_kill(study: RunningStudy, draw: Random) -> str:
    """Kills the driver while the disk is full; in half of the cases restarts it while the disk is still full."""
    before, after, again = draw.uniform(0.2, 4.0), draw.uniform(1.0, _LONGEST_FULL_S), draw.random() < 0.5
    with full_disk(study, draw) as fill:
        study.wait(before, fill)
        whom = kill_driver(study, draw)
        if again:
            study.start(storage_patience_s=study.storage_patience_s)
            study.may_end = True  # it may find the disk full for longer than it waits
        study.wait(after, fill)
    return f"{whom}{', and started again while it was full' if again else ''}"


def disk_full_and_ctrl_c(study: RunningStudy, draw: Random) -> str:
    """Ctrl-C while the disk is full: the driver must end in order, at the latest when the disk has space again."""
    before, after = draw.uniform(0.2, 4.0), draw.uniform(0.0, 4.0)
    with full_disk(study, draw) as fill:
        study.wait(before, fill)
        assert study.driver is not None
        study.driver.send_signal(signal.SIGINT)
        study.wait(after, fill)
    return _await_end(study)


def clock_set(study: RunningStudy, draw: Random) -> str:
    """Shifts the time of one file, or of all, by an hour, a day or years, mostly back."""
    files = sorted(path for path in study.storage.rglob("*") if path.is_file())
    if not files:
        return "nothing yet"
    chosen = files if draw.random() < 0.2 else [draw.choice(files)]
    shift = draw.choice([-3600, -86_400, -10 * 365 * 86_400, -1, 86_400, 365 * 86_400])
    for path in chosen:
        with contextlib.suppress(FileNotFoundError):  # a driver has just replaced it
            os.utime(path, (time.time() + shift,) * 2)
    what = f"{chosen[0].relative_to(study.storage).parts[0]}/.../{chosen[0].name}" if len(chosen) == 1 else "all files"
    return f"{what} by {dt.timedelta(seconds=abs(shift))} {'back' if shift < 0 else 'ahead'}"


def ctrl_c(study: RunningStudy, draw: Random) -> str:
    """Ctrl-C, which reaches the driver alone: Ray's processes have sessions of their own."""
    return _end_in_order(study, signal.SIGINT)


def sigterm(study: RunningStudy, draw: Random) -> str:
    """SIGTERM for the driver, as a machine sends that is being taken away."""
    return _end_in_order(study, signal.SIGTERM)


FAULTS = (
    Fault(name="kill driver", inject=kill_driver, weight=3, survived=False),
    Fault(name="kill worker", inject=kill_worker, weight=4, survived=True),
    Fault(name="kill another", inject=kill_one, weight=3, survived=False),
    Fault(name="kill several", inject=kill_several, weight=1, survived=False),
    Fault(name="kill all", inject=kill_all, weight=1, survived=False),
    Fault(name="hold still", inject=stop_one, weight=5, survived=True),
    Fault(name="second driver", inject=second_driver, weight=3, survived=True),
    Fault(name="disk full", inject=disk_full, weight=4, survived=True, needs_disk=True),
    Fault(name="disk full, kill", inject=disk_full_and_kill, weight=2, survived=False, needs_disk=True),
    Fault(name="disk full, Ctrl-C", inject=disk_full_and_ctrl_c, weight=1, survived=False, needs_disk=True),
    Fault(name="file's clock", inject=clock_set, weight=4, survived=True),
    Fault(name="Ctrl-C", inject=ctrl_c, weight=1, survived=False),
    Fault(name="SIGTERM", inject=sigterm, weight=1, survived=False),
)


@contextlib.contextmanager
def stopped(study: RunningStudy, pid: int) -> Iterator[None]:
    """Stops a process."""
    study.send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        study.send(pid, signal.SIGCONT)


@contextlib.contextmanager
def full_disk(study: RunningStudy, draw: Random) -> Iterator[Callable[[], bool]]:
    """Fills the storage's disk up to a few pages; yields a function that fills it again."""
    ballast = study.storage.parent / "ballast"
    spare = draw.choice([0, 0, 4096, 3 * 4096, 16 * 4096])  # a write that succeeds in part

    def fill() -> bool:
        with ballast.open("ab") as file:
            there = os.fstatvfs(file.fileno())
            if (free := there.f_bavail * there.f_frsize - spare) > 0:
                with contextlib.suppress(OSError):  # the study was faster
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
        return False

    fill()
    try:
        yield fill
    finally:
        ballast.unlink()


def _kill(study: RunningStudy, pids: list[int]) -> str:
    names = study.processes()
    killed = [pid for pid in pids if study.send(pid, signal.SIGKILL)]
    return ", ".join(f"{names.get(pid, 'process')} ({pid})" for pid in killed) or "nobody"


def _end_in_order(study: RunningStudy, what: signal.Signals) -> str:
    assert study.driver is not None
    study.must_explain = study.has_begun  # before that, Python may still be importing
    study.driver.send_signal(what)
    return _await_end(study)


def _await_end(study: RunningStudy) -> str:
    assert study.driver is not None
    if not study.wait(_SIGNALS_S, lambda: study.status is not None):
        raise BrokenError(f"the driver has not ended {_SIGNALS_S:.0f} s after it was asked to")
    return f"the driver ({study.driver.pid})"
