"""Reads and writes files in a storage, a local folder or an ``s3://bucket/prefix`` URI, through ``pyarrow.fs``.

Writes are atomic: a local file is written under a temporary name, synced and renamed; an object is written by one PUT
or, if it is large, under a temporary name and copied.

Operations are retried for ``$STUDY_STORAGE_PATIENCE_S`` seconds after an error that may pass (a full disk, a request to
slow down, a lost connection), and not after a final one (no such bucket, access denied).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

T = TypeVar("T")

PATIENCE = "STUDY_STORAGE_PATIENCE_S"
"""Environment variable: seconds for which a failing operation is retried."""
PATIENCE_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
_ONE_PUT_BYTES = 4 << 20  # pyarrow sends up to this in one request; beyond, it begins a multipart upload
_LOCAL_PASSING = {
    getattr(errno, name)
    for name in (
        "ENOSPC", "EDQUOT", "EIO", "EAGAIN", "EINTR", "EBUSY", "ENFILE", "EMFILE", "ENOMEM", "ESTALE", "ETIMEDOUT",
        "ENOTCONN", "ESHUTDOWN", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ECONNREFUSED", "ECONNRESET",
    )
    if hasattr(errno, name)
}  # fmt: skip
_REMOTE_FINAL = (
    "NO_SUCH_BUCKET", "NoSuchBucket", "ACCESS_DENIED", "AccessDenied", "INVALID_ACCESS_KEY_ID", "InvalidAccessKeyId",
    "SIGNATURE_DOES_NOT_MATCH", "SignatureDoesNotMatch", "UNRECOGNIZED_CLIENT", "INVALID_CLIENT_TOKEN_ID",
    "MISSING_AUTHENTICATION_TOKEN", "INVALID_SIGNATURE", "INVALID_PARAMETER",
)  # fmt: skip

log = logging.getLogger("study.storage")


class StorageError(Exception):
    """The storage cannot be read or written; the message names the path and the rule."""


def default_storage() -> str:
    """``$STUDY_STORAGE``, else the folder ``results``."""
    return os.environ.get("STUDY_STORAGE") or "results"


def open_storage(storage: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a storage and the path of its root in it.

    Raises:
        StorageError: if the storage is neither a local folder nor an ``s3://`` URI, or is a file.
    """
    if "://" in storage:
        if not storage.startswith("s3://"):
            raise StorageError(f"storage must be a folder or an s3:// URI, got {storage!r}")
        if "@" in urlsplit(storage).netloc:  # not repeated in the message, which may be logged
            raise StorageError(
                "storage must not carry credentials (s3://key:secret@bucket): it is printed and recorded; give them by "
                "environment, profile or instance role"
            )
        # Writes a small object in one request instead of three, with no multipart upload to leave unfinished.
        uri = f"{storage}{'&' if '?' in storage else '?'}allow_delayed_open=true"
        try:
            fs, root = pafs.FileSystem.from_uri(uri)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(f"storage {storage!r} is not a usable s3:// URI: {error}") from None
        return fs, root
    path = Path(storage).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise StorageError(f"storage must be a folder, but {path} is a file")
    return pafs.LocalFileSystem(), path.as_posix()


def is_remote(storage: str) -> bool:
    """Whether the storage is an object store."""
    return "://" in storage


def patience_s() -> float:
    """``$STUDY_STORAGE_PATIENCE_S``, else five minutes.

    Raises:
        StorageError: if it is not a number of at least 0.
    """
    given = os.environ.get(PATIENCE)
    if not given:
        return PATIENCE_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise StorageError(f"{PATIENCE} must be a number of seconds of at least 0, got {given!r}")
    return seconds


def patiently(action: str, path: str, operation: Callable[[], T], *, patience: float | None = None) -> T:
    """Runs an operation on the storage and returns its result; retries it with growing pauses after errors that may
    pass.

    Args:
        action: verb for messages: ``write``, ``read``.
        path: the file, for messages.
        operation: may run several times.
        patience: seconds; None for ``patience_s()``.

    Raises:
        StorageError: on a final error, or when the patience is used up.
        FileNotFoundError: if a file to read does not exist.
    """
    limit = patience_s() if patience is None else patience
    failed_at: float | None = None
    wait = _FIRST_WAIT_S
    while True:
        try:
            result = operation()
        except FileNotFoundError as error:
            if action == "read" and not _mentions(error, _REMOTE_FINAL):
                raise
            raise StorageError(f"cannot {action} {path}: {error}") from error
        except OSError as error:
            if not _passes(error):
                raise StorageError(f"cannot {action} {path}: {error}") from error
            now = time.monotonic()
            if failed_at is None:
                failed_at = now
                if limit:
                    log.warning("cannot %s %s, trying for up to %.0f s: %s", action, path, limit, error)
            if now - failed_at >= limit:
                raise StorageError(f"cannot {action} {path}, tried for {now - failed_at:.0f} s: {error}") from error
            # Random, so that the machines of a cluster do not all retry at the same moment.
            time.sleep(min(wait * random.uniform(0.5, 1.0), max(0.05, limit - (now - failed_at))))
            wait = min(2 * wait, _LONGEST_WAIT_S)
        else:
            if failed_at is not None:
                log.warning("%s of %s went through after %.0f s", action, path, time.monotonic() - failed_at)
            return result


def _passes(error: OSError) -> bool:
    """Whether the error may pass by itself."""
    if error.errno is not None and "AWS Error" not in str(error):
        return error.errno in _LOCAL_PASSING
    return not _mentions(error, _REMOTE_FINAL)


def _mentions(error: OSError, words: tuple[str, ...]) -> bool:
    return any(word in str(error) for word in words)


def write_bytes(fs: pafs.FileSystem, path: str, data: bytes | memoryview, *, patience: float | None = None) -> None:
    """Writes a file atomically.

    Raises:
        StorageError: as ``patiently``.
    """
    if isinstance(fs, pafs.LocalFileSystem):
        patiently("write", path, lambda: _write_local(Path(path), data), patience=patience)
    elif len(data) <= _ONE_PUT_BYTES:
        patiently("write", path, lambda: _put(fs, path, data), patience=patience)
    else:
        patiently("write", path, lambda: _put_large(fs, path, data), patience=patience)


def _write_local(path: Path, data: bytes | memoryview) -> None:
    with whole_file(path) as file:
        file.write(data)


def _put(fs: pafs.FileSystem, path: str, data: bytes | memoryview) -> None:
    with fs.open_output_stream(path) as stream:
        stream.write(data)


def _put_large(fs: pafs.FileSystem, path: str, data: bytes | memoryview) -> None:
    # If a multipart upload cannot begin, pyarrow's stream writes an empty object when it is closed, which must not
    # replace the last good one.
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.tmp"
    try:
        _put(fs, temporary, data)
        if (size := fs.get_file_info(temporary).size) != len(data):
            raise OSError(f"{size} of {len(data)} bytes arrived")
        fs.copy_file(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            fs.delete_file(temporary)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a local file to write; it gets its name when the block succeeds and is deleted when it raises.

    Raises:
        OSError: if the folder cannot be made or the file not written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that renaming is atomic; a unique name, so that two writers do not mix; a leading dot, so
    # that readers of the folder skip it.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(fs: pafs.FileSystem, path: str, *, patience: float | None = None) -> bytes | None:
    """The content of a file; None if it does not exist.

    Raises:
        StorageError: as ``patiently``.
    """

    def read() -> bytes:
        with fs.open_input_stream(path) as stream:
            return stream.read()

    try:
        return patiently("read", path, read, patience=patience)
    except FileNotFoundError:
        return None


def delete(fs: pafs.FileSystem, path: str) -> None:
    """Deletes a file if it exists.

    Raises:
        StorageError: as ``patiently``.
    """

    def remove() -> None:
        if fs.get_file_info(path).type != pafs.FileType.NotFound:
            fs.delete_file(path)

    patiently("delete", path, remove)


def sweep(fs: pafs.FileSystem, folder: str) -> None:
    """Deletes the temporary files of killed writers in a folder. No other process may be writing there.

    Raises:
        StorageError: as ``patiently``.
    """

    def remove() -> None:
        for info in fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True)):
            if info.is_file and info.base_name.startswith(".") and info.base_name.endswith(".tmp"):
                fs.delete_file(info.path)

    patiently("sweep", folder, remove)
