"""One driver per study: a lease under the storage, ``<storage>/leases/<study>.json``, which its holder keeps renewing.

Who finds a lease takes it over only if its holder is dead. On the holder's own machine the process tells at once. From
elsewhere only a lease that is not renewed for ``LEASE_S`` is dead; the waiting is done by one's own clock, so that no
two clocks have to agree. A holder that was out for as long (stopped, asleep, cut off from the storage) looks again
before it goes on, and ends if another has taken over.

An object store of which no more is asked than to put and get cannot rule out that two drivers started in the same
second both believe to be first for a moment; the one whose lease was written last goes on, the other ends at its next
look. What both may have written in between is the same: trials are deterministic.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import logging
import os
import posixpath
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pyarrow.fs as pafs
from ray import tune

from study.driver.machine import Holder, machine_id, process_start, seconds_awake_or_not
from study.driver.ray_session import StudyError
from study.records.write_behind import Periodic
from trainables.storage.storage import StorageError, delete, open_storage, read_bytes, write_bytes

LEASE_S = 45.0
"""A lease that was not renewed for so long is free."""
_RENEW_S = 10.0
_POLL_S = 2.0
_SETTLE_S = 2.0  # for an object store: longer than another driver may take between its look and its word

log = logging.getLogger("study.driver.lease")


class Lease:
    """A study's lease, held from ``acquire`` to ``release``.

    Args:
        study: its name.
        storage: a folder or an ``s3://`` URI.
        lease_s: seconds without a renewal after which a lease is free.
        renew_s: seconds between renewals.
        poll_s: seconds between looks at another's lease.
        settle_s: seconds after which one's own is read back from an object store.
    """

    def __init__(
        self,
        study: str,
        storage: str,
        *,
        lease_s: float = LEASE_S,
        renew_s: float = _RENEW_S,
        poll_s: float = _POLL_S,
        settle_s: float = _SETTLE_S,
    ) -> None:
        self.study = study
        self._fs, root = open_storage(storage)
        self._path = posixpath.join(root, "leases", f"{study}.json")
        self._lease_s, self._renew_s, self._poll_s, self._settle_s = lease_s, renew_s, poll_s, settle_s
        pid = os.getpid()
        self._me = Holder(
            token=secrets.token_hex(8), pid=pid, process_start=process_start(pid) or "", machine=machine_id(),
            host=socket.gethostname(), beat=0, renewed_at="",
        )  # fmt: skip
        self._confirmed = 0.0
        self._lost: Holder | None = None
        self._busy = threading.Lock()
        self._renewal: Periodic | None = None
        self._told = False

    def acquire(self, tell: Callable[[str], object] = log.warning) -> None:
        """Takes the lease, and renews it from now on.

        Args:
            tell: hears that, and why, it has to wait.

        Raises:
            StudyError: if another driver holds it and lives.
            StorageError: if the storage cannot be read or written.
        """
        with self._one_at_a_time():
            other = self._read()
            if other is not None and not other.is_dead:
                if other.is_here:
                    raise self._refusal(other)
                self._wait_for_death(other, tell)
            self._write()
            if not isinstance(self._fs, pafs.LocalFileSystem):
                time.sleep(self._settle_s)
                other = self._read()
                if other is None or other.token != self._me.token:
                    raise self._refusal(other)
        self._renewal = Periodic(self._renew_s, self._renew_quietly)

    def check(self) -> None:
        """Makes sure that the lease is still ours; costs nothing as long as renewals went through.

        Raises:
            StudyError: if another driver has taken over.
            StorageError: if the lease ran out and the storage cannot be asked.
        """
        if self._lost is None and seconds_awake_or_not() - self._confirmed > self._lease_s / 2:
            self._renew()
        if self._lost is not None:
            raise StudyError(
                f"study {self.study} was taken over by {self._lost} while this process was out for longer than "
                f"{self._lease_s:g} s; every finished epoch is on record, and the other goes on from there"
            )

    def release(self) -> None:
        """Gives the lease back; what cannot be given back runs out."""
        if self._renewal is not None:
            self._renewal.close()
        with contextlib.suppress(StorageError), self._busy:
            other = self._read(patience=0.0)
            if other is not None and other.token == self._me.token:
                delete(self._fs, self._path)

    def _wait_for_death(self, other: Holder, tell: Callable[[str], object]) -> None:
        tell(
            f"study {self.study} was being run by {other}; looking for up to {self._lease_s:g} s whether it still lives"
        )
        deadline = time.monotonic() + self._lease_s
        while time.monotonic() < deadline:
            time.sleep(self._poll_s)
            now = self._read()
            if now is None:  # given back
                return
            if (now.token, now.beat) != (other.token, other.beat):
                raise self._refusal(now)

    def _refusal(self, other: Holder | None) -> StudyError:
        who = "another process, just started" if other is None else str(other)
        return StudyError(f"study {self.study} is being run by {who}; wait for it, or stop it first")

    def _renew_quietly(self) -> None:
        try:
            self._renew(patience=0.0)
            self._told = False
        except StorageError as error:
            if not self._told:
                log.warning("the lease of study %s could not be renewed: %s", self.study, error)
            self._told = True

    def _renew(self, *, patience: float | None = None) -> None:
        with self._busy:
            other = self._read(patience=patience)
            if other is not None and other.token != self._me.token:
                self._lost = other
                return
            self._write(patience=patience)

    def _read(self, *, patience: float | None = None) -> Holder | None:
        data = read_bytes(self._fs, self._path, patience=patience)
        if data is None:
            return None
        try:
            return Holder(**json.loads(data))
        except (ValueError, TypeError):  # of another version, or not ours to understand
            return None

    def _write(self, *, patience: float | None = None) -> None:
        self._me = Holder(
            **asdict(self._me) | {"beat": self._me.beat + 1, "renewed_at": dt.datetime.now(dt.UTC).isoformat()}
        )
        # Taken before the writing: the lease lives at least as long as we believe.
        begun = seconds_awake_or_not()
        write_bytes(self._fs, self._path, json.dumps(asdict(self._me), indent=1).encode(), patience=patience)
        self._confirmed = begun

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """In a local folder, drivers started in the same second stand in line."""
        if not isinstance(self._fs, pafs.LocalFileSystem):
            yield
            return
        path = Path(f"{self._path}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, however that ends
            yield


@contextlib.contextmanager
def holding(
    studies: Sequence[str], storage: str, *, tell: Callable[[str], object] = log.warning
) -> Iterator[list[Lease]]:
    """The leases of some studies for the length of a run.

    Raises:
        StudyError: if another driver holds one and lives.
        StorageError: if the storage cannot be read or written.
    """
    leases = [Lease(study, storage) for study in studies]
    try:
        # Side by side: after the death of another machine each of them has to wait.
        with ThreadPoolExecutor(len(leases)) as pool:
            for acquired in [pool.submit(lease.acquire, tell) for lease in leases]:
                acquired.result()
        yield leases
    finally:
        for lease in leases:
            lease.release()


class LeaseCheck(tune.Callback):
    """Ends a run whose study another driver has taken over, before anything more is written."""

    def __init__(self, leases: list[Lease]) -> None:
        self._leases = leases

    def on_step_begin(self, iteration: int, trials: list[object], **info: object) -> None:
        """Looks before Tune hears of the next result."""
        for lease in self._leases:
            lease.check()

    def on_trial_result(
        self, iteration: int, trials: list[object], trial: object, result: object, **info: object
    ) -> None:
        """Looks before the result is recorded."""
        self.on_step_begin(iteration, trials)

    def __getstate__(self) -> dict[str, object]:
        return {}
