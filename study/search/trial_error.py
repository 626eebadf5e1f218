"""Classifies a trial's error in Ray Tune: its own, a lost process or machine, or an unavailable storage."""

from __future__ import annotations

import contextlib
import pickle
from dataclasses import dataclass
from pathlib import Path

from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError
from ray.tune.experiment import Trial as TuneTrial

from trainables.storage.storage import StorageError

_IN_SETUP = "its creation task"  # in Ray's message for an error in the trainable's set-up, which ends its actor


@dataclass(frozen=True, kw_only=True)
class TrialError:
    """A trial's error in one line, and its kind."""

    text: str
    lost: bool = False
    """Whether the trial's process or machine was lost."""
    storage: bool = False
    """Whether the storage was unavailable for longer than the patience."""


def trial_error(trial: TuneTrial) -> TrialError:
    """Reads a trial's error from the files that Tune has written."""
    error: object = None
    # Tune's own readers look in a folder to which the files are moved only later.
    with contextlib.suppress(OSError, TypeError, pickle.UnpicklingError, AttributeError, EOFError):
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())  # written by this process
    if error is None:
        with contextlib.suppress(OSError, TypeError):
            error = Path(trial.error_file).read_text("utf-8", "replace")
    lines = str(error or "").strip().splitlines() or ["unknown error"]
    in_setup = any(_IN_SETUP in line for line in lines)
    if isinstance(error, StorageError) or in_setup and f"{StorageError.__name__}: " in lines[-1]:
        return TrialError(text=lines[-1].partition(f"{StorageError.__name__}: ")[2] or lines[-1], storage=True)
    if isinstance(error, (RayActorError, NodeDiedError, ObjectLostError, WorkerCrashedError)) and not in_setup:
        return TrialError(text=lines[0], lost=True)
    return TrialError(text=lines[-1])
