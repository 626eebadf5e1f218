"""Where Optuna's journals are: an append-only file per study, of which the driver is the only writer.

In a local storage the journal lies there, ``<storage>/optuna/<study>.journal``. An object store can neither append nor
lock: there the driver works on a file in its cache and puts a copy under the same name into the storage, for
optuna-dashboard and for the machine that takes over. The copy may be behind, and the journal may be lost: the Parquet
tables are the record, and ``optuna_study`` brings whatever it finds in line with them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import posixpath
from pathlib import Path

from optuna.storages import JournalStorage

from study.records.journal_file import JournalFile
from study.records.periodic import Periodic
from trainables.data.corpora import cache_directory
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
            # Another machine may have driven the study since this one last did: what is in the storage counts.
            if (data := read_bytes(self._fs, self._copy)) is not None:
                with whole_file(self.path) as file:
                    file.write(data)
            else:
                self.path.unlink(missing_ok=True)
            self._copying = Periodic(copy_every_s, self._copy_quietly)

    def close(self) -> None:
        """Puts the last copy into the storage, if the storage is there."""
        if self._copying is not None:
            self._copying.close()
            self._copy_quietly()

    def _copy_quietly(self) -> None:
        try:
            self.copy()
        except StorageError as error:
            log.warning("Optuna's journal was not copied: %s", error)

    def copy(self) -> None:
        """Puts the whole lines that are there into the storage, unless they are there already.

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
    """Opens a journal of which this process is the only writer, after whatever happened to the one before.

    One that is damaged, as by a machine that lost its power, is put aside: the records rebuild it.
    """
    patiently("make", str(path), lambda: _make(path))
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):  # a writer that was killed
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
