"""Processes that a test starts, found again by a mark that all their children inherit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_MARK = "VDLSTM_TEST_PROCESS"


class Machine:
    """A simulated machine to run studies on and to kill: the processes that carry its mark."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        # A short path: Ray puts sockets below it.
        self.folder = Path(tempfile.mkdtemp(prefix="vdm", dir="/tmp"))
        self.log = self.folder / "output.txt"

    def start(self, *command: str, log: Path | None = None, **variables: str) -> subprocess.Popen[bytes]:
        """Starts ``python -m ...`` with its output going to a file, ``self.log`` unless told otherwise.

        Args:
            command: what follows ``-m``.
            log: the file.
            variables: of its environment.
        """
        environment = (
            os.environ
            | variables
            | {
                _MARK: self.mark,
                "RAY_TMPDIR": str(self.folder),
                "TMPDIR": str(self.folder),
                "RAY_USAGE_STATS_ENABLED": "0",
                "OMP_NUM_THREADS": "1",
                "PYTHONUNBUFFERED": "1",
            }
        )
        environment.pop("RAY_ADDRESS", None)
        with (log or self.log).open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=file, stderr=file, start_new_session=True
            )

    def run(self, *command: str, timeout: float) -> str:
        """Runs to the end and returns the output; fails with it if the command fails."""
        self.log.write_bytes(b"")
        process = self.start(*command)
        status = process.wait(timeout)
        output = self.log.read_text()
        assert status == 0, f"exit status {status}\n{output}"
        return output

    def processes(self) -> dict[int, str]:
        """Living processes with this machine's mark: id -> command line."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"{_MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                        found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def kill(self, *, containing: str = "") -> int:
        """SIGKILL for every process, or for those whose command line contains a text; returns how many."""
        victims = [pid for pid, line in self.processes().items() if containing in line]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(victims)

    def close(self) -> None:
        """Kills the remaining processes and deletes the folder."""
        deadline = time.monotonic() + 20
        while self.kill() and time.monotonic() < deadline:
            time.sleep(0.2)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A machine for the length of a test."""
    one = Machine()
    try:
        yield one
    finally:
        one.close()
