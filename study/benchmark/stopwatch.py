"""Where a thread's time goes: calls of named functions, each second counted once, for the innermost of them."""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


class Stopwatch:
    """Times the calls that the thread which makes it makes, while used as a context manager.

    Args:
        parts: part -> the functions, as (class or module, name), whose time is that part's, unless another part's
            function is called within.
        rest: the part that everything else counts for.
    """

    def __init__(self, parts: Mapping[str, Sequence[tuple[Any, str]]], *, rest: str) -> None:
        self._parts, self._stack = parts, [rest]
        self._seconds: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self._thread, self._since = threading.get_ident(), _now()
        self._originals: list[tuple[Any, str, Callable[..., Any]]] = []

    def __enter__(self) -> Stopwatch:
        for part, methods in self._parts.items():
            for owner, name in methods:
                original = getattr(owner, name)
                self._originals.append((owner, name, original))
                setattr(owner, name, self._timed(part, original))
        self._since = _now()
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)
        self._originals.clear()

    def read(self) -> dict[str, np.ndarray]:
        """Seconds of each part so far: by the clock, and of the thread on a CPU; shape (2,)."""
        self._charge()
        return {part: seconds.copy() for part, seconds in self._seconds.items()}

    def _charge(self) -> None:
        now = _now()
        self._seconds[self._stack[-1]] += now - self._since
        self._since = now

    def _timed(self, part: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def timed(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return original(*arguments, **named)
            self._charge()
            self._stack.append(part)
            try:
                return original(*arguments, **named)
            finally:
                self._charge()
                self._stack.pop()

        return timed


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.thread_time()])
