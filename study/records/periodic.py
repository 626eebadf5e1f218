"""Something to do again and again beside the driver's loop."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
        """No call begins after this; one that is under way is waited for a little, and then left to itself."""
        self._closed.set()
        self._thread.join(5.0)
