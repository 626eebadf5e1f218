"""A study's records: Parquet tables, written whole and atomically, one writer per file.

``<storage>/<table>/corpus=C/size=S/variant=V/<study>/<name>.a<attempt>.parquet``

* ``epochs``: a row per finished epoch. An attempt of a trial writes only the epochs that no earlier attempt has
  recorded, so the files of a trial together hold every finished epoch exactly once.
* ``trials``: a row per trial. The row of a new attempt replaces the row of the one before.
* ``evaluations``: a row per number measured on a trial's best weights, written before the trial's end.
* ``runs``: a row per start of a driver, with its provenance.
* ``subspace``: section 6.2's experiment, a row per finished epoch.
* ``predictions``, ``word_mass``: predictions of trained weights (Table 4, section 6.4).
* ``token_scores``: ln p of every token of the validation and test split, a row per split of a confirm trial.

Storage is a local folder or an ``s3://bucket/prefix`` URI (``trainables.storage.storage``).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from study.records.evaluations import EARLIER_TRIALS, as_evaluations
from study.records.schemas import EPOCHS, HIVE_KEYS, RUNS, SCHEMAS, SUBSPACE, TRIALS
from study.records.trials import BLOCKS, STATUSES
from study.records.write_behind import WriteBehind
from trainables.storage.storage import StorageError, default_storage, delete, is_remote, open_storage, write_bytes

__all__ = [
    "BLOCKS",
    "EPOCHS",
    "HIVE_KEYS",
    "RUNS",
    "SCHEMAS",
    "STATUSES",
    "SUBSPACE",
    "TRIALS",
    "Setting",
    "Records",
    "StorageError",
    "default_storage",
    "is_remote",
    "read_table",
]

_READ_TRIES = 5
_READERS = 16  # requests to an object store at a time
_FILE_NAME = re.compile(r"(?P<name>.+)\.a(?P<attempt>\d+)\.parquet")


class Setting(NamedTuple):
    """The corpus, size and variant of a study, by name."""

    corpus: str
    size: str
    variant: str


class Records:
    """The records of one study, to write and to read back.

    Args:
        storage: a folder or an ``s3://`` URI.
        setting: of the study.
        study: its name.
    """

    def __init__(self, storage: str, setting: Setting, study: str) -> None:
        self.storage, self.setting, self.study = storage, setting, study
        self._fs, self._root = open_storage(storage)
        self.queue = WriteBehind()
        """Of the queued writes: ``check`` raises the error of one, ``abandon`` drops them."""

    def folder(self, table: str) -> str:
        """The folder of one table of this study."""
        keys = [f"{key}={value}" for key, value in self.setting._asdict().items()]
        return posixpath.join(self._root, table, *keys, self.study)

    def write(self, table: str, name: str, attempt: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the file of ``name`` and ``attempt`` whole; of ``trials``, then deletes its earlier attempts.

        Waits for the queued writes of that name first.

        Raises:
            KeyError: if a row has a column that the table lacks.
            StorageError: if the storage refuses.
        """
        rows = _checked(table, rows)
        self.queue.flush(name)
        self._write(table, name, attempt, rows)

    def write_behind(self, table: str, name: str, attempt: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Queues the same write and returns. The writes of one name keep their order.

        Raises:
            KeyError: if a row has a column that the table lacks.
            StorageError: if an earlier queued write has failed.
        """
        rows = _checked(table, rows)
        path = self._path(table, name, attempt)
        self.queue.submit(name, path, lambda: self._write(table, name, attempt, rows))

    def flush(self, name: str | None = None) -> None:
        """Waits for all queued writes, or for those of one name.

        Raises:
            StorageError: if a queued write has failed.
        """
        self.queue.flush(name)

    def _write(self, table: str, name: str, attempt: int, rows: list[dict[str, Any]]) -> None:
        schema = SCHEMAS[table]
        sink = pa.BufferOutputStream()
        # Compressing a few kilobytes saves next to nothing and doubles the time to read them.
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="none")
        write_bytes(self._fs, self._path(table, name, attempt), sink.getvalue())
        if table == "trials":
            for earlier in range(1, attempt):
                delete(self._fs, self._path(table, name, earlier))

    def attempts(self, table: str) -> dict[str, int]:
        """The last attempt of each name that has a file."""
        self.flush()
        selector = pafs.FileSelector(self.folder(table), allow_not_found=True)
        found: dict[str, int] = {}
        for info in self._fs.get_file_info(selector):
            if match := _FILE_NAME.fullmatch(info.base_name):
                found[match["name"]] = max(found.get(match["name"], 0), int(match["attempt"]))
        return found

    def read(self, table: str) -> list[dict[str, Any]]:
        """The rows of one table of this study; of ``trials``, the latest attempt of each trial."""
        self.flush()
        rows = _read_table(self._fs, self.folder, table, keys=False).to_pylist()
        if table == "trials":
            latest: dict[str, dict[str, Any]] = {}
            for row in sorted(rows, key=lambda r: r["attempt"]):
                latest[row["trial_id"]] = row
            return list(latest.values())
        return rows

    def _path(self, table: str, name: str, attempt: int) -> str:
        return posixpath.join(self.folder(table), f"{name}.a{attempt}.parquet")


def _checked(table: str, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies the rows: the caller may change its own while the copy is queued."""
    copies = [dict(row) for row in rows]
    for row in copies:
        if unknown := row.keys() - SCHEMAS[table].names:
            raise KeyError(f"table {table} has no column {', '.join(sorted(unknown))}")
    return copies


def read_table(storage: str, table: str) -> pa.Table:
    """One table of a storage, all studies, with ``corpus``, ``size`` and ``variant`` as string columns.

    A storage without records gives an empty table with the same columns.

    Raises:
        StorageError: if the storage cannot be read.
    """
    fs, root = open_storage(storage)
    return _read_table(fs, lambda name: posixpath.join(root, name), table, keys=True)


def _read_table(fs: pafs.FileSystem, folder: Callable[[str], str], table: str, *, keys: bool) -> pa.Table:
    """Reads one table; ``evaluations`` includes those that an earlier version recorded as columns of ``trials``."""
    rows = _read(fs, folder(table), SCHEMAS[table], keys=keys)
    if table != "evaluations":
        return rows
    earlier = as_evaluations(_read(fs, folder("trials"), EARLIER_TRIALS, keys=keys))
    return pa.concat_tables([earlier, rows])


def _read(fs: pafs.FileSystem, folder: str, schema: pa.Schema, *, keys: bool) -> pa.Table:
    """All rows below a folder; with ``keys``, with corpus, size and variant from the paths."""
    for left in reversed(range(_READ_TRIES)):
        try:
            if fs.get_file_info(folder).type != pafs.FileType.Directory:
                found: list[tuple[str, pa.Table]] = []
            else:
                infos = fs.get_file_info(pafs.FileSelector(folder, recursive=True))
                paths = sorted(info.path for info in infos if info.is_file and _FILE_NAME.fullmatch(info.base_name))
                found = _read_files(fs, paths)
            return _join(found, schema, keys=keys)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            # A running driver has just replaced a file: it is gone, or, in an object store, its size and its content
            # were asked for before and after. The next listing has the new one.
            if not left:
                raise StorageError(f"cannot read {folder}: {error}") from error
        except (OSError, pa.ArrowTypeError) as error:
            raise StorageError(f"cannot read {folder}: {error}") from error
    raise AssertionError("unreachable")


def _read_files(fs: pafs.FileSystem, paths: Sequence[str]) -> list[tuple[str, pa.Table]]:
    """(path, rows) of each file. A file is small and read whole: ``pyarrow.dataset`` takes twice the time for many."""

    def read(path: str) -> tuple[str, pa.Table]:
        try:
            with fs.open_input_file(path) as file:
                return path, pq.ParquetFile(pa.BufferReader(file.read_buffer())).read(use_threads=False)
        except pa.ArrowInvalid as error:
            raise pa.ArrowInvalid(f"{path}: {error}") from error

    if isinstance(fs, pafs.LocalFileSystem):  # nothing to wait for
        return [read(path) for path in paths]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, paths))


def _join(found: Sequence[tuple[str, pa.Table]], schema: pa.Schema, *, keys: bool) -> pa.Table:
    # The schema's own columns first: what a file of an earlier version lacks is null, and what it has more is left out.
    tables = [schema.empty_table(), *(rows for _, rows in found)]
    joined = pa.concat_tables(tables, promote_options="permissive").select(schema.names).cast(schema)
    if not keys:
        return joined
    counts = [rows.num_rows for _, rows in found]
    parts = [dict(part.split("=", 1) for part in path.split("/") if "=" in part) for path, _ in found]
    for key in HIVE_KEYS.names:
        values = pa.array(np.repeat(np.array([part.get(key) for part in parts], dtype=object), counts), pa.string())
        joined = joined.append_column(HIVE_KEYS.field(key), values)
    return joined
