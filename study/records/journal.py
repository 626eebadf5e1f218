"""Optuna's journal of each study: an append-only file that only the driver writes.

In a local storage it is ``<storage>/optuna/<study>.journal``. An object store can neither append nor lock: there the
driver works on a file in its cache and copies it to the same name in the storage, for optuna-dashboard and for a driver
on another machine. The copy may lag, and a journal may be lost: the Parquet tables are the record, and ``optuna_study``
reconciles the journal with them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import posixpath
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from study.records.write_behind import Periodic
from trainables.data.download import cache_directory
from trainables.storage.storage import (
    StorageError,
    is_remote,
    open_storage,
    patiently,
    read_bytes,
    whole_file,
    write_bytes,
)

_COPY_EVERY_S = 60.0

log = logging.getLogger("study.records.journal")


class Journal:
    """One study's journal file on this machine, and its copy in the storage where that is elsewhere.

    Args:
        study: its name.
        storage: a folder or an ``s3://`` URI.
        copy_every_s: seconds between copies.

    Raises:
        StorageError: if the storage cannot be read.
    """

    def __init__(self, study: str, storage: str, *, copy_every_s: float = _COPY_EVERY_S) -> None:
        self._remote = is_remote(storage)
        folder = cache_directory() / "optuna" if self._remote else Path(storage) / "optuna"
        self.path = folder / f"{study}.journal"
        self._copied = -1
        self._copying: Periodic | None = None
        if self._remote:
            self._fs, root = open_storage(storage)
            self._copy = posixpath.join(root, "optuna", f"{study}.journal")
            # Another machine may have run the study since: the copy in the storage replaces the cached file.
            if (data := read_bytes(self._fs, self._copy)) is not None:
                with whole_file(self.path) as file:
                    file.write(data)
            else:
                self.path.unlink(missing_ok=True)
            self._copying = Periodic(copy_every_s, self._copy_quietly)

    def close(self) -> None:
        """Copies the journal a last time, if the storage is available."""
        if self._copying is not None:
            self._copying.close()
            self._copy_quietly()

    def _copy_quietly(self) -> None:
        try:
            self.copy()
        except StorageError as error:
            log.warning("Optuna's journal was not copied: %s", error)

    def copy(self) -> None:
        """Copies the complete lines to the storage, if there are new ones.

        Raises:
            StorageError: if the storage refuses.
        """
        with contextlib.suppress(FileNotFoundError):
            data = self.path.read_bytes()
            data = data[: data.rfind(b"\n") + 1]
            if len(data) != self._copied:
                write_bytes(self._fs, self._copy, data, patience=0.0)
                self._copied = len(data)


def open_journal(path: Path) -> JournalStorage:
    """Opens a journal as its only writer.

    Cuts off an incomplete last line. Renames a damaged journal (a power failure can damage one) to ``.damaged`` and
    starts a new one, which is rebuilt from the records.
    """
    patiently("make", str(path), lambda: _make(path))
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):  # its writer was killed
        os.truncate(path, whole)
    try:
        return JournalStorage(JournalFile(path))
    except (ValueError, KeyError) as error:
        aside = path.with_suffix(".damaged")
        log.warning("Optuna's journal %s is damaged (%s): it is put aside as %s and rebuilt", path, error, aside.name)
        path.replace(aside)
        return JournalStorage(JournalFile(path))


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


class JournalFile(BaseJournalBackend):
    """An append-only file that one process writes, without the locks that several writers need.

    Optuna's own backend takes a lock, syncs the disk and reads the file again for each of the dozen lines of a new
    trial. Here a line is written and kept in memory. It is not synced: it survives the process, and lines lost in a
    power failure are rebuilt from the records.

    Args:
        path: created if missing; its lines must be complete.

    Raises:
        ValueError: if a line is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        with path.open("rb") as file:
            self._unread = deque(json.loads(line) for line in file)
        self._first = 0
        """Number of the first log in ``_unread``: earlier ones are dropped."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The logs from this number on; between calls it must not decrease."""
        while self._first < log_number_from:
            self._unread.popleft()
            self._first += 1
        return iter(list(self._unread))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends all logs or none.

        Raises:
            StorageError: if the disk stays full or unavailable for longer than the patience.
        """
        # Kept as the next driver will read them from the file: through JSON.
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        data = "".join(f"{line}\n" for line in lines).encode()
        size = os.fstat(self._file.fileno()).st_size

        def append() -> None:
            if os.fstat(self._file.fileno()).st_size > size:  # left by a failed attempt
                os.ftruncate(self._file.fileno(), size)
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, "only a part was written")

        patiently("write", str(self._path), append)
        self._unread.extend(json.loads(line) for line in lines)
