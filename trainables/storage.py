"""Files in a storage: a local folder or an ``s3://bucket/prefix`` URI, through ``pyarrow.fs`` alike.

Whatever is written here is written whole or not at all: a local file under a temporary name, synced and renamed; an
object by one upload. Nobody ever reads half of it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs


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
        try:
            fs, root = pafs.FileSystem.from_uri(storage)
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


def write_bytes(fs: pafs.FileSystem, path: str, data: bytes | memoryview) -> None:
    """Writes a file whole or not at all: nobody ever reads half of it.

    Raises:
        StorageError: if the storage refuses.
    """
    try:
        if isinstance(fs, pafs.LocalFileSystem):
            with whole_file(Path(path)) as file:
                file.write(data)
            return
        with fs.open_output_stream(path) as stream:
            stream.write(data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A local file to write, which takes its name when the block ends well, and leaves nothing when it does not.

    Raises:
        OSError: if the folder cannot be made or the file not written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, or the renaming would not be atomic; a name of one's own, or two writers would mix. The
    # leading dot hides it from those who list the folder.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(fs: pafs.FileSystem, path: str) -> bytes | None:
    """The content of a file, or None where there is none.

    Raises:
        StorageError: if the storage refuses.
    """
    try:
        if fs.get_file_info(path).type == pafs.FileType.NotFound:
            return None
        with fs.open_input_stream(path) as stream:
            return stream.read()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error}") from error


def delete(fs: pafs.FileSystem, path: str) -> None:
    """Deletes a file, if it is there.

    Raises:
        StorageError: if the storage refuses.
    """
    try:
        if fs.get_file_info(path).type != pafs.FileType.NotFound:
            fs.delete_file(path)
    except OSError as error:
        raise StorageError(f"cannot delete {path}: {error}") from error
