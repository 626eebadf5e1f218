"""Starts Ray for the length of a run, and runs Tune without output or files of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray import tune

from trainables.storage.storage import StorageError

# Tune's loggers write five files a trial and its snapshots grow with every trial: the records replace both.
_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no metric
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the error is in the records and in the summary
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # the old output, which verbose=0 silences
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's future default; without it every process warns
}


class StudyError(Exception):
    """A study cannot run; the message says why and what to do."""


@contextlib.contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Connects to Ray, or starts it, for the length of a run, without log output.

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
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        # Without an address Ray joins the cluster that this machine is a node of, or starts on this machine alone.
        # (Its "auto" would also join whatever private Ray another study has started here.)
        # No dashboard: `study.status` shows more of a study, and a dashboard would open a port.
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise StudyError(f"no Ray cluster answers at {address!r}: {error}") from None
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler would end the process at once
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Ends a run in order at SIGTERM, which a spot machine sends before it is taken away, as at Ctrl-C."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def fit(
    trainable: Any,
    *,
    callbacks: Sequence[tune.Callback],
    max_failures: int = 0,
    max_pending: int | None = None,
    **tune_config: Any,
) -> bool:
    """Runs Tune without output, in a temporary folder: the records are a study's only state.

    Args:
        trainable: with its resources.
        callbacks: called with every result.
        max_failures: times that Tune itself starts a lost trial again.
        max_pending: trials that may wait for resources at a time; None for Tune's default. With a searcher that is 1,
            so that a cluster would grow by one machine at a time.
        **tune_config: fields of ``tune.TuneConfig``, and ``param_space``.

    Returns:
        Whether Ctrl-C has ended it.
    """
    param_space = tune_config.pop("param_space", None)
    if max_pending is not None:
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max_pending)
    with tempfile.TemporaryDirectory(prefix="study-tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            trainable,
            param_space=param_space,
            tune_config=tune.TuneConfig(
                reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id, **tune_config
            ),
            run_config=tune.RunConfig(
                name="run",
                storage_path=scratch,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=max_failures),
                callbacks=list(callbacks),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            return True
        except tune.TuneError as error:
            # Tune wraps the errors of callbacks: the study's own are raised as they were.
            raise next((e for e in _causes(error) if isinstance(e, (StudyError, StorageError))), error) from None
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, its cause or context, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
