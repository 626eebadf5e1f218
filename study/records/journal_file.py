"""An Optuna journal that one process writes: an append-only file, without the locks that several writers need.

Optuna's own backend takes a lock, syncs the disk and reads the file again for each of the dozen lines of a new trial.
Here a line is written and remembered. It is not synced: it outlives the process, whichever way that ends, and what a
machine that loses its power takes with it is rebuilt from the records.
"""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from trainables.storage.storage import patiently


class JournalFile(BaseJournalBackend):
    """The journal at ``path``, which is made if it is not there; its lines must be whole.

    Raises:
        ValueError: if a line is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        with path.open("rb") as file:
            self._unread = deque(json.loads(line) for line in file)
        self._first = 0
        """Number of the first log that is remembered: those that were read are not read again."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The logs from this number on; it only grows."""
        while self._first < log_number_from:
            self._unread.popleft()
            self._first += 1
        return iter(list(self._unread))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends all logs or none.

        Raises:
            StorageError: if the disk stays full, or away, for long.
        """
        # Remembered as they will be read from the file by the next driver: through JSON.
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        data = "".join(f"{line}\n" for line in lines).encode()
        size = os.fstat(self._file.fileno()).st_size

        def append() -> None:
            if os.fstat(self._file.fileno()).st_size > size:  # what an attempt before has left
                os.ftruncate(self._file.fileno(), size)
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, "only a part was written")

        patiently("write", str(self._path), append)
        self._unread.extend(json.loads(line) for line in lines)
