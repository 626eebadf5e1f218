"""The study's record: Parquet tables, written whole and atomically, one writer per file.

``<storage>/<table>/corpus=C/size=S/variant=V/<study>/<name>.a<attempt>.parquet``

* ``epochs``: a row per finished epoch. An attempt of a trial writes only the epochs that no earlier attempt has
  recorded, so the files of a trial together hold every finished epoch exactly once.
* ``trials``: a row per trial. The row of a new attempt replaces the row of the one before.
* ``runs``: a row per start of a driver, with its provenance.
* ``subspace``: section 6.2's experiment, a row per finished epoch.
* ``predictions``, ``word_mass``: what trained weights predict (Table 4, section 6.4).

Storage is a local folder or an ``s3://bucket/prefix`` URI (``trainables.storage``).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from trainables.storage import StorageError, default_storage, delete, is_remote, open_storage, write_bytes

__all__ = [
    "BLOCKS",
    "EPOCHS",
    "RUNS",
    "STATUSES",
    "TRIALS",
    "Cell",
    "Records",
    "StorageError",
    "default_storage",
    "is_remote",
    "read_table",
]

_S, _I32, _I64, _F, _B = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("ms", tz="UTC")

EPOCHS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("epoch", _I32), ("block", _S),
        ("train_loss", _F), ("train_total_loss", _F), ("valid_ppl", _F), ("best_valid_ppl", _F),
        ("lr", _F), ("grad_norm", _F), ("tokens_per_s", _F), ("epoch_s", _F), ("peak_memory_bytes", _I64),
        ("subspace_distance", _F),
    ]
)  # fmt: skip
"""A row per finished epoch. Losses in nats per token (``train_loss`` is the cross-entropy alone), times in seconds."""

TRIALS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("block", _S), ("origin", _S), ("audit", _B),
        ("optuna_number", _I32),
        ("seed", _I64), ("max_epochs", _I32), ("drop_prob", _F), ("input_dropout", _B), ("lr", _F), ("lr_decay", _F),
        ("lr_decay_start_epoch", _I32), ("max_grad_norm", _F), ("init_range", _F), ("gamma", _F), ("tau", _F),
        ("alpha", _F), ("target_gradient", _S), ("second_session_epoch", _I32), ("batch_size", _I32), ("bptt", _I32),
        ("status", _S), ("stopped_by", _S), ("would_stop_epoch", _I32), ("num_epochs", _I32), ("best_epoch", _I32),
        ("best_valid_ppl", _F), ("final_valid_ppl", _F), ("single_stream_valid_ppl", _F), ("test_ppl", _F),
        ("num_params", _I64), ("device_s", _F), ("error", _S), ("precision", _S), ("git_commit", _S),
        ("started_at", _TIME), ("ended_at", _TIME),
    ]
)  # fmt: skip
"""A row per trial. ``status`` is complete, pruned, failed or interrupted; a trial that has started and not ended
stands as interrupted, so that a driver that dies leaves the truth behind."""

RUNS = pa.schema(
    [
        ("study", _S), ("run", _I32), ("started_at", _TIME), ("heartbeat_at", _TIME), ("ended_at", _TIME),
        ("outcome", _S), ("argv", _S), ("git_commit", _S), ("git_dirty", _B),
        ("python", _S), ("torch", _S), ("ray", _S), ("optuna", _S), ("pyarrow", _S), ("platform", _S),
        ("cpu_model", _S), ("num_cpus", _I32), ("num_gpus", _I32), ("gpu_model", _S), ("memory_bytes", _I64),
        ("search_seed", _I64), ("space_hash", _S), ("corpus_sha256", _S), ("vocab_size", _I32),
        ("num_train_tokens", _I64), ("num_valid_tokens", _I64), ("num_test_tokens", _I64),
        ("num_samples", _I32), ("max_epochs", _I32), ("num_seeds", _I32), ("grace_period", _I32),
        ("reduction_factor", _I32), ("max_concurrent", _I32), ("time_budget_s", _F),
        ("hidden_size", _I32), ("num_params", _I64),
    ]
)  # fmt: skip
"""A row per start of a driver: where the numbers come from, and the budget they were given."""

SUBSPACE = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("epoch", _I32), ("num_epochs", _I32), ("status", _S),
        ("beta", _F), ("tau", _F), ("seed", _I64), ("target_gradient", _S),
        ("hidden_size", _I32), ("vocab_size", _I32), ("num_tokens", _I64), ("first_token", _I64),
        ("batch_size", _I32), ("bptt", _I32), ("lr", _F), ("max_grad_norm", _F), ("init_range", _F),
        ("optimizer", _S), ("vocabulary", _S), ("layer_lr_share", _F), ("embedding_lr_share", _F),
        ("train_loss", _F), ("augmented_loss", _F), ("subspace_distance", _F), ("grad_norm", _F), ("epoch_s", _F),
        ("git_commit", _S), ("torch", _S), ("cpu_model", _S), ("gpu_model", _S), ("corpus_sha256", _S),
        ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per finished epoch of section 6.2's experiment. ``augmented_loss`` is J_aug alone, in nats per token."""

PREDICTIONS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("seed", _I64), ("epoch", _I32), ("phrase", _S),
        ("next_word", _S), ("next_word_probability", _F), ("next_word_rank", _I32),
        ("rank", _I32), ("word", _S), ("probability", _F),
        ("git_commit", _S), ("corpus_sha256", _S), ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per phrase and rank (from 1): the words that a trial's best weights hold most probable next (Table 4)."""

WORD_MASS = pa.schema(
    [
        ("study", _S), ("trial_id", _S), ("attempt", _I32), ("seed", _I64), ("epoch", _I32), ("split", _S),
        ("word", _S), ("frequency_rank", _I32), ("num_train", _I64), ("num_split", _I64), ("num_positions", _I64),
        ("mean_probability", _F), ("mean_probability_elsewhere", _F),
        ("git_commit", _S), ("corpus_sha256", _S), ("recorded_at", _TIME),
    ]
)  # fmt: skip
"""A row per frequent word: the mean probability that a trial's best weights give it over a whole split, and over the
positions where it is not the target (section 6.4). ``frequency_rank`` counts from 1 in the training split."""

SCHEMAS: Mapping[str, pa.Schema] = {
    "epochs": EPOCHS,
    "trials": TRIALS,
    "runs": RUNS,
    "subspace": SUBSPACE,
    "predictions": PREDICTIONS,
    "word_mass": WORD_MASS,
}
HIVE_KEYS = pa.schema([("corpus", _S), ("size", _S), ("variant", _S)])
STATUSES = ("complete", "pruned", "failed", "interrupted")
BLOCKS = ("default", "random", "tpe", "confirm")
_READ_TRIES = 5
_READERS = 16  # requests to an object store at a time
_FILE_NAME = re.compile(r"(?P<name>.+)\.a(?P<attempt>\d+)\.parquet")


class Cell(NamedTuple):
    """What one study is about: a corpus, a size and a variant, by name."""

    corpus: str
    size: str
    variant: str


class Records:
    """The records of one study, to write and to read back.

    Args:
        storage: a folder or an ``s3://`` URI.
        cell: what the study is about.
        study: its name.
    """

    def __init__(self, storage: str, cell: Cell, study: str) -> None:
        self.storage, self.cell, self.study = storage, cell, study
        self._fs, self._root = open_storage(storage)

    def folder(self, table: str) -> str:
        """Where the files of one table of this study are."""
        keys = [f"{key}={value}" for key, value in self.cell._asdict().items()]
        return posixpath.join(self._root, table, *keys, self.study)

    def write(self, table: str, name: str, attempt: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the file of ``name`` and ``attempt`` whole; for ``trials``, then drops its earlier attempts.

        Raises:
            KeyError: if a row has a column that the table lacks.
            StorageError: if the storage refuses.
        """
        schema = SCHEMAS[table]
        rows = [dict(row) for row in rows]
        for row in rows:
            if unknown := set(row) - set(schema.names):
                raise KeyError(f"table {table} has no column {', '.join(sorted(unknown))}")
        sink = pa.BufferOutputStream()
        # Compressing a few kilobytes saves next to nothing, and to read them back takes twice the time.
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="none")
        write_bytes(self._fs, self._path(table, name, attempt), sink.getvalue())
        if table == "trials":
            for earlier in range(1, attempt):
                delete(self._fs, self._path(table, name, earlier))

    def attempts(self, table: str) -> dict[str, int]:
        """The last attempt of each name that has a file."""
        selector = pafs.FileSelector(self.folder(table), allow_not_found=True)
        found: dict[str, int] = {}
        for info in self._fs.get_file_info(selector):
            if match := _FILE_NAME.fullmatch(info.base_name):
                found[match["name"]] = max(found.get(match["name"], 0), int(match["attempt"]))
        return found

    def read(self, table: str) -> list[dict[str, Any]]:
        """The rows of one table of this study, a trial's latest attempt alone for ``trials``."""
        rows = _read(self._fs, self.folder(table), SCHEMAS[table], keys=False).to_pylist()
        if table == "trials":
            latest: dict[str, dict[str, Any]] = {}
            for row in sorted(rows, key=lambda r: r["attempt"]):
                latest[row["trial_id"]] = row
            return list(latest.values())
        return rows

    def _path(self, table: str, name: str, attempt: int) -> str:
        return posixpath.join(self.folder(table), f"{name}.a{attempt}.parquet")


def read_table(storage: str, table: str) -> pa.Table:
    """One table of a storage, all studies, with ``corpus``, ``size`` and ``variant`` as string columns.

    A storage without records gives an empty table with the same columns.

    Raises:
        StorageError: if the storage cannot be read.
    """
    fs, root = open_storage(storage)
    return _read(fs, posixpath.join(root, table), SCHEMAS[table], keys=True)


def _read(fs: pafs.FileSystem, folder: str, schema: pa.Schema, *, keys: bool) -> pa.Table:
    """All rows below a folder; with ``keys``, those that stand in the path too."""
    for left in reversed(range(_READ_TRIES)):
        try:
            if fs.get_file_info(folder).type != pafs.FileType.Directory:
                found: list[tuple[str, pa.Table]] = []
            else:
                infos = fs.get_file_info(pafs.FileSelector(folder, recursive=True))
                paths = sorted(info.path for info in infos if info.is_file and _FILE_NAME.fullmatch(info.base_name))
                found = _read_files(fs, paths)
            return _join(found, schema, keys=keys)
        except FileNotFoundError as error:
            # A driver at work has just replaced a trial's row: the next listing has the new one.
            if not left:
                raise StorageError(f"cannot read {folder}: {error}") from error
        except (OSError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
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
