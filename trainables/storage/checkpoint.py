"""Checkpoints of a trial in the study's storage, written atomically and loaded without running code from them.

Two files per trial: ``last.pt``, replaced after every epoch, and ``best.pt``, the weights of the best validation epoch,
for trials that need them. Ray Tune's own checkpoints are not used: Tune deletes the old one before it has registered
the new one, and a crash in between loses both.
"""

from __future__ import annotations

import io
import posixpath
from typing import Any

import torch

from trainables.storage.storage import delete, open_storage, read_bytes, sweep, write_bytes


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file and the reason."""


class CheckpointFolder:
    """The checkpoints of one trial, ``<storage>/checkpoints/<study>/<trial_id>/{last,best}.pt``."""

    def __init__(self, storage: str, study: str, trial_id: str) -> None:
        self._fs, root = open_storage(storage)
        self._path = posixpath.join(root, "checkpoints", study, trial_id)

    def sweep(self) -> None:
        """Deletes the temporary files of killed attempts."""
        sweep(self._fs, self._path)

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Writes ``<name>.pt`` atomically, replacing the one before."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(self._fs, self._file(name), buffer.getbuffer())

    def load(self, name: str) -> dict[str, Any] | None:
        """The content of ``<name>.pt``, tensors on the CPU; None if there is no such file.

        Raises:
            CheckpointError: if the file is not a checkpoint, or holds anything but tensors and plain values.
        """
        data = read_bytes(self._fs, self._file(name))
        if data is None:
            return None
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes make the unpickler raise errors of any kind
            raise CheckpointError(f"{self._file(name)} is not a usable checkpoint: {error}") from error

    def delete(self, name: str) -> None:
        """Deletes ``<name>.pt`` if it exists."""
        delete(self._fs, self._file(name))

    def _file(self, name: str) -> str:
        return posixpath.join(self._path, f"{name}.pt")
