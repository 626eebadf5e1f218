"""Checkpoints of a trial in the study's storage, written whole and loaded without running code from them.

Two files a trial: ``last.pt``, replaced after every epoch, and ``best.pt``, the weights of the best validation epoch
where they will be needed. They are our own rather than Ray Tune's: Tune deletes an old checkpoint before it knows of
the new one, and a crash in between leaves neither.
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
        """Deletes what an attempt that was killed while it was writing has left."""
        sweep(self._fs, self._path)

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Writes ``<name>.pt`` whole, replacing the one before."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(self._fs, self._file(name), buffer.getbuffer())

    def load(self, name: str) -> dict[str, Any] | None:
        """The content of ``<name>.pt``, tensors on the CPU, or None where there is none.

        Raises:
            CheckpointError: if the file is not a checkpoint, or holds anything but tensors and plain values.
        """
        data = read_bytes(self._fs, self._file(name))
        if data is None:
            return None
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # what the unpickler makes of damaged bytes knows no bounds
            raise CheckpointError(f"{self._file(name)} is not a usable checkpoint: {error}") from error

    def delete(self, name: str) -> None:
        """Deletes ``<name>.pt``, if it is there."""
        delete(self._fs, self._file(name))

    def _file(self, name: str) -> str:
        return posixpath.join(self._path, f"{name}.pt")
