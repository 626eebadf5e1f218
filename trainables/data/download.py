"""Finds a corpus' published files in the user's folders, or downloads them; verifies their size and SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from trainables.recipes import SourceFile
from trainables.storage.storage import whole_file

TIMEOUT_S = 30.0
"""Seconds without data after which a download has failed."""
CHUNK_BYTES = 1 << 16


class CorpusError(Exception):
    """A corpus is missing or is not the published one; the message names the file, the line if any, and the rule."""


def cache_directory() -> Path:
    """``$VDLSTM_CACHE``, else ``vdlstm`` in the user's cache folder (XDG: ``$XDG_CACHE_HOME``, else ``~/.cache``)."""
    if own := os.environ.get("VDLSTM_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says to ignore a relative path.
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "vdlstm"


def user_folders() -> dict[str, Path]:
    """``$VDLSTM_DATA`` -> its folder, or nothing where it is not set."""
    folder = os.environ.get("VDLSTM_DATA")
    return {"$VDLSTM_DATA": Path(folder).expanduser().absolute()} if folder else {}


def find(source: SourceFile, folders: dict[str, Path]) -> bytes | None:
    """Verified content of the file in the first folder that has it; None if none has.

    Raises:
        CorpusError: if the file cannot be read, or is not the published one.
    """
    for folder in folders.values():
        path = folder / source.path
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
        advice = "Delete it (it is then looked for elsewhere, or downloaded), or put the published file in its place."
        _verify(source, len(content), hashlib.sha256(content).hexdigest(), where=str(path), advice=advice)
        return content
    return None


def fetch(source: SourceFile, folder: Path, *, searched: dict[str, Path]) -> bytes:
    """Downloads the file to ``folder``; only the whole, verified file ever gets its name there.

    Args:
        source: the file.
        folder: the data folder; ``source.path`` is relative to it.
        searched: the folders that were searched before, for the message.

    Raises:
        CorpusError: if the file cannot be downloaded, is not the published one, or cannot be written.
    """
    path = folder / source.path
    try:
        with whole_file(path) as file:
            content = _receive(source, file, searched=searched)
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(f"cannot write {path}: {reason}. Name another folder in $VDLSTM_CACHE.") from error
    return content


def _receive(source: SourceFile, file: BinaryIO, *, searched: dict[str, Path]) -> bytes:
    """Reads the URL into the file and returns the verified content."""
    chunks: list[bytes] = []
    size, digest = 0, hashlib.sha256()
    with _progress(source) as advance:
        for chunk in _chunks(source, searched):
            file.write(chunk)
            chunks.append(chunk)
            digest.update(chunk)
            size += len(chunk)
            advance(len(chunk))
            if size > source.num_bytes:
                break  # not the published file, and it might never end
    advice = (
        "Nothing was kept. Try again; if it stays so, get the published file elsewhere and put it at "
        f"{source.path} in the folder that $VDLSTM_DATA names."
    )
    _verify(source, size, digest.hexdigest(), where=source.url, advice=advice)
    return b"".join(chunks)


def _chunks(source: SourceFile, searched: dict[str, Path]) -> Iterator[bytes]:
    """Yields the URL's content in chunks; raises CorpusError on a network error, so that an OSError is the disk's."""
    request = urllib.request.Request(source.url, headers={"User-Agent": "vdlstm-study"})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CorpusError(_unavailable_message(source, searched, error)) from error
    with response:
        while True:
            try:
                chunk = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise CorpusError(_unavailable_message(source, searched, error)) from error
            if not chunk:
                return
            yield chunk


def _unavailable_message(source: SourceFile, searched: dict[str, Path], error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answered {error.code} {error.reason}"
    looked = ", ".join(f"{name} ({folder / source.path})" for name, folder in searched.items())
    return (
        f"{source.path} is missing and cannot be downloaded. Looked in: {looked}. Download from {source.url}: "
        f"{reason or type(error).__name__}. Put the file into the folder that $VDLSTM_DATA names, or use "
        "--corpus toy, which needs nothing."
    )


def _verify(source: SourceFile, size: int, sha256: str, *, where: str, advice: str) -> None:
    if size == source.num_bytes and sha256 == source.sha256:
        return
    if size > source.num_bytes:
        what = "it is larger"
    elif size < source.num_bytes:
        what = "it is truncated" if size else "it is empty"
    else:
        what = "its content differs"
    raise CorpusError(
        f"{where} is not the published {source.path}: {what}. Expected {source.num_bytes} bytes with SHA-256 "
        f"{source.sha256}, found {size} bytes with {sha256}. {advice}"
    )


@contextmanager
def _progress(source: SourceFile) -> Iterator[Callable[[int], object]]:
    """A progress bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda num_bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Downloading {source.path}", total=source.num_bytes)
        yield lambda num_bytes: bar.advance(task, num_bytes)
