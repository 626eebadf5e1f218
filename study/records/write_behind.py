"""Storage work in background threads, so that the driver does not wait for the storage.

The work of one chain is done in the order of submission, one item at a time; chains run in parallel. If the process
dies, each chain is in a state that synchronous writing would have left a little earlier.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_THREADS = 16  # requests to an object store at a time
_MOST_WAITING = 1000  # above this, ``submit`` waits


class WriteBehind:
    """Does submitted work in background threads. A failure drops the queue and refuses further work."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[tuple[str, Callable[[], None]]]] = {}
        """Chain -> its queued work, for each chain that a thread is working on."""
        self._num_waiting = 0
        self._error: BaseException | None = None
        self._threads: ThreadPoolExecutor | None = None

    def submit(self, chain: str, name: str, work: Callable[[], None]) -> None:
        """Appends work to a chain; replaces the last item of its queue if that has the same name.

        Raises:
            Exception: the error of earlier work.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._num_waiting < _MOST_WAITING)
            self._raise()
            if (queue := self._waiting.get(chain)) is None:
                self._waiting[chain] = deque([(name, work)])
                # Python joins the pool's threads at exit: queued work is done, unless it is abandoned.
                self._threads = self._threads or ThreadPoolExecutor(_THREADS, thread_name_prefix="write-behind")
                self._threads.submit(self._work_on, chain)
            elif queue and queue[-1][0] == name:
                queue[-1] = (name, work)
                return
            else:
                queue.append((name, work))
            self._num_waiting += 1

    def flush(self, chain: str | None = None) -> None:
        """Waits until the work of a chain, or of all chains, is done.

        Raises:
            Exception: the error of failed work.
        """
        with self._changed:
            self._changed.wait_for(lambda: chain not in self._waiting if chain is not None else not self._waiting)
            self._raise()

    def check(self) -> None:
        """Raises the error of failed work, without waiting."""
        with self._changed:
            self._raise()

    def abandon(self) -> None:
        """Drops the queued work and refuses further work."""
        self._fail(RuntimeError("nothing more may be written: the writer was abandoned"))

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            for queue in self._waiting.values():
                queue.clear()
            self._num_waiting = 0
            self._changed.notify_all()

    def _work_on(self, chain: str) -> None:
        while True:
            with self._changed:
                queue = self._waiting[chain]
                if not queue:
                    del self._waiting[chain]
                    self._changed.notify_all()
                    return
                _, work = queue.popleft()
                self._num_waiting -= 1
                self._changed.notify_all()
            try:
                work()
            except BaseException as error:
                self._fail(error)


class Periodic:
    """Calls a function every so often in a thread of its own, until it is closed or the process ends.

    Args:
        seconds: between two calls.
        function: must deal with its own errors.
    """

    def __init__(self, seconds: float, function: Callable[[], object]) -> None:
        self._seconds, self._function = seconds, function
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"every {seconds:g} s")
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            self._function()

    def close(self) -> None:
        """Starts no further call; waits up to 5 s for one that is running."""
        self._closed.set()
        self._thread.join(5.0)
