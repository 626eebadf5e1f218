"""This machine and the processes on it, and whether one that drives a study, here or elsewhere, still lives."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

_SURELY_DEAD_S = 600.0  # more than clocks differ


def machine_id() -> str:
    """Tells machines apart, and one machine's starts: process numbers mean something within one of these alone."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        # Containers share a boot, and number their processes each for itself.
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def process_start(pid: int) -> str | None:
    """When a process of this machine began, in the kernel's ticks; None if there is none, "" if it cannot be known.

    Together with the number it names a process for good: numbers are used again.
    """
    with contextlib.suppress(OSError, IndexError):
        # The command's name is in brackets and may hold anything; the start is the 20th field behind it.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def seconds_awake_or_not() -> float:
    """A clock that nobody sets and that goes on while the machine sleeps, where there is such a one."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who drives a study."""

    token: str
    pid: int
    process_start: str
    machine: str
    host: str
    beat: int
    """Counts the renewals."""
    renewed_at: str
    """ISO 8601, UTC, by the holder's clock."""

    def __str__(self) -> str:
        where = "this machine" if self.machine == machine_id() else self.host
        return f"process {self.pid} on {where}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.machine == machine_id()

    @property
    def is_dead(self) -> bool:
        """Whether that is known without waiting."""
        if self.is_here:
            return process_start(self.pid) != self.process_start
        try:
            age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(self.renewed_at)
        except (ValueError, TypeError):
            return False
        return age.total_seconds() > _SURELY_DEAD_S
