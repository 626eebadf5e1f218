"""What every driver needs around its work: Ray, quiet, for as long as it runs, and its study to itself."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import ray

# Tune's loggers write five files a trial and its snapshots grow with every trial: the records replace both.
_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no metric
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the error is in the records and in the summary
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # of Tune's two outputs the one that verbose=0 silences
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray announces in every process that this will be its default
}


class StudyError(Exception):
    """A study cannot run; the message says why and what to do."""


@contextlib.contextmanager
def only_driver(study: str, path: Path) -> Iterator[None]:
    """Keeps a second driver on this machine away from a study: a record has one writer.

    The lock dies with its process, however that ends.

    Args:
        study: its name.
        path: of the lock's file.

    Raises:
        StudyError: if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file: TextIO
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StudyError(
                f"study {study} is being run by process {file.read().strip() or 'unknown'} on this machine; "
                "wait for it, or stop it first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Ray for the length of a run, quiet, and SIGTERM treated like Ctrl-C.

    Args:
        address: of a cluster; None joins the one that this machine belongs to, or starts Ray on this machine.

    Raises:
        StudyError: if no cluster answers there.
    """
    os.environ.update({k: v for k, v in _TUNE_ENVIRONMENT.items() if k not in os.environ})
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    if ray.is_initialized():  # the driver runs inside a cluster (see launch)
        yield
        return
    try:
        # Without an address Ray joins the cluster that this machine is a node of, or starts on this machine alone.
        # (Its "auto" would also join whatever private Ray another study has started here.)
        ray.init(address=address, include_dashboard=None, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise StudyError(f"no Ray cluster answers at {address!r}: {error}") from None
    # Tune ends a run in order at SIGINT; a machine that is being taken away sends SIGTERM.
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        ray.shutdown()
