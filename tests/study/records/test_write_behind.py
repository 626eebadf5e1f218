"""Order, replacement, failure and abandonment of queued work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from study.records.write_behind import WriteBehind


class Slow:
    """Work that waits for a gate and then notes its name."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)
        self.done: list[str] = []

    def __call__(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.begun.release()
            assert self.gate.wait(10)
            self.done.append(name)

        return work

    def wait_until_begun(self) -> None:
        assert self.begun.acquire(timeout=10)


@pytest.fixture
def slow() -> Iterator[Slow]:
    one = Slow()
    yield one
    one.gate.set()


@pytest.fixture
def behind() -> WriteBehind:
    return WriteBehind()


def test_a_chain_is_done_in_its_order_and_only_neighbours_are_replaced(behind: WriteBehind, slow: Slow) -> None:
    behind.submit("t", "epochs", slow("epochs 1"))
    slow.wait_until_begun()
    for name, what in (
        ("epochs", "epochs 2"), ("epochs", "epochs 3"), ("trials", "stop"),
        ("epochs", "epochs 4"), ("epochs", "epochs 5"),
    ):  # fmt: skip
        behind.submit("t", name, slow(what))
    slow.gate.set()
    behind.flush("t")
    # Work that has begun is not replaced, and no work is moved across the stop.
    assert slow.done == ["epochs 1", "epochs 3", "stop", "epochs 5"]


def test_chains_go_on_side_by_side(behind: WriteBehind, slow: Slow) -> None:
    behind.submit("stuck", "file", slow("stuck"))
    slow.wait_until_begun()
    done: list[str] = []
    behind.submit("free", "file", lambda: done.append("free"))
    behind.flush("free")
    assert done == ["free"]
    assert slow.done == []
    slow.gate.set()
    behind.flush()
    assert slow.done == ["stuck"]


def test_a_failure_drops_the_queue_and_is_raised_every_time(behind: WriteBehind, slow: Slow) -> None:
    def full() -> None:
        slow.begun.release()
        assert slow.gate.wait(10)
        raise OSError("no space left")

    done: list[str] = []
    behind.submit("t", "epochs", full)
    slow.wait_until_begun()
    behind.submit("t", "trials", lambda: done.append("the end, without its epochs"))
    behind.check()
    slow.gate.set()
    with pytest.raises(OSError, match="no space left"):
        behind.flush("t")
    for call in (behind.check, behind.flush, lambda: behind.submit("u", "file", lambda: done.append("later"))):
        with pytest.raises(OSError, match="no space left"):
            call()
    assert done == []


def test_abandoning_drops_the_queue_without_waiting(behind: WriteBehind, slow: Slow) -> None:
    behind.submit("t", "epochs", slow("begun"))
    slow.wait_until_begun()
    behind.submit("t", "trials", slow("waiting"))
    behind.abandon()
    slow.gate.set()
    with pytest.raises(RuntimeError, match="abandoned"):
        behind.flush()
    assert slow.done == ["begun"]


def test_submit_waits_while_the_queue_is_full(behind: WriteBehind, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.records.write_behind._MOST_WAITING", 3)
    behind.submit("t", "0", slow("0"))
    slow.wait_until_begun()
    for number in range(1, 4):
        behind.submit("t", str(number), slow(str(number)))
    brought = threading.Event()

    def bring() -> None:
        behind.submit("t", "4", slow("4"))
        brought.set()

    thread = threading.Thread(target=bring)
    thread.start()
    assert not brought.wait(0.05)
    slow.gate.set()
    assert brought.wait(10)
    thread.join()
    behind.flush()
    assert slow.done == ["0", "1", "2", "3", "4"]
