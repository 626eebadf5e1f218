"""One driver per study, in a folder and on an object store, dead and alive."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import study.driver.lease
from study.driver.lease import Lease, LeaseCheck, holding
from study.driver.machine import Holder, machine_id, process_start
from study.driver.ray_session import StudyError
from trainables.storage.storage import StorageError

QUICK = {"lease_s": 0.6, "renew_s": 0.05, "poll_s": 0.05, "settle_s": 0.05}
NAME = "real-tiny-toy-1"


def path_in(storage: Path) -> Path:
    return storage / "leases" / f"{NAME}.json"


def holder(**changes: object) -> dict[str, object]:
    """A driver elsewhere, which has renewed its lease just now."""
    return {
        "token": "other", "pid": 4711, "process_start": "1", "machine": "another", "host": "node-7", "beat": 3,
        "renewed_at": dt.datetime.now(dt.UTC).isoformat(),
    } | changes  # fmt: skip


def plant(storage: Path, **changes: object) -> None:
    path_in(storage).parent.mkdir(parents=True, exist_ok=True)
    path_in(storage).write_text(json.dumps(holder(**changes)))


def test_a_lease_is_held_renewed_and_given_back(tmp_path: Path) -> None:
    lease = Lease(NAME, str(tmp_path), **QUICK)
    lease.acquire()
    first = json.loads(path_in(tmp_path).read_text())
    assert first["pid"] > 0
    assert first["machine"] == machine_id()
    deadline = time.monotonic() + 20
    while json.loads(path_in(tmp_path).read_text())["beat"] < first["beat"] + 2:
        assert time.monotonic() < deadline, "never renewed"
        time.sleep(0.02)
    lease.check()
    lease.release()
    assert not path_in(tmp_path).exists()


def test_a_living_driver_of_this_machine_is_named(tmp_path: Path) -> None:
    first = Lease(NAME, str(tmp_path))
    first.acquire()
    with pytest.raises(StudyError, match=r"is being run by process \d+ on this machine"):
        Lease(NAME, str(tmp_path)).acquire()
    first.release()
    Lease(NAME, str(tmp_path)).acquire()


def test_a_dead_process_of_this_machine_is_followed_at_once(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    begun = process_start(done.pid)
    done.wait()
    plant(tmp_path, pid=done.pid, process_start=begun, machine=machine_id())
    told: list[str] = []
    Lease(NAME, str(tmp_path)).acquire(told.append)
    assert not told


def test_a_number_that_another_process_has_now_is_a_dead_holders(tmp_path: Path) -> None:
    plant(tmp_path, pid=1, process_start="not that of process 1", machine=machine_id())
    Lease(NAME, str(tmp_path)).acquire()


def test_a_silent_driver_elsewhere_is_waited_for_and_followed(tmp_path: Path) -> None:
    plant(tmp_path)
    told: list[str] = []
    begun = time.monotonic()
    Lease(NAME, str(tmp_path), **QUICK).acquire(told.append)
    assert time.monotonic() - begun >= QUICK["lease_s"]
    assert "was being run by process 4711 on node-7" in told[0]


def test_a_driver_elsewhere_that_renews_is_named(tmp_path: Path) -> None:
    plant(tmp_path)
    beat = threading.Timer(0.2, plant, [tmp_path], {"beat": 4})
    beat.start()
    with pytest.raises(StudyError, match="is being run by process 4711 on node-7"):
        Lease(NAME, str(tmp_path), **QUICK | {"lease_s": 20.0}).acquire(lambda _: None)
    beat.join()


def test_a_lease_given_back_meanwhile_is_taken_at_once(tmp_path: Path) -> None:
    plant(tmp_path)
    gone = threading.Timer(0.2, path_in(tmp_path).unlink)
    gone.start()
    begun = time.monotonic()
    Lease(NAME, str(tmp_path), **QUICK | {"lease_s": 60.0}).acquire(lambda _: None)
    assert time.monotonic() - begun < 30
    gone.join()


def test_a_lease_as_old_as_no_two_clocks_differ_is_dead(tmp_path: Path) -> None:
    plant(tmp_path, renewed_at="2020-01-01T00:00:00+00:00")
    told: list[str] = []
    Lease(NAME, str(tmp_path)).acquire(told.append)
    assert not told


@pytest.mark.parametrize("content", ["", "{", '{"token": 1}', "[]"])
def test_a_damaged_lease_holds_nobody_up(tmp_path: Path, content: str) -> None:
    plant(tmp_path)
    path_in(tmp_path).write_text(content)
    Lease(NAME, str(tmp_path)).acquire()


def test_a_holder_that_was_out_finds_that_another_took_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(NAME, str(tmp_path), **QUICK | {"renew_s": 3600.0})
    lease.acquire()
    lease.check()
    plant(tmp_path)
    now = study.driver.lease.seconds_awake_or_not()
    monkeypatch.setattr(study.driver.lease, "seconds_awake_or_not", lambda: now + 60)  # as after SIGSTOP or sleep
    check = LeaseCheck([lease])
    with pytest.raises(StudyError, match="taken over by process 4711 on node-7"):
        check.on_step_begin(0, [])
    with pytest.raises(StudyError, match="taken over"):
        check.on_trial_result(0, [], None, None)
    lease.release()
    assert json.loads(path_in(tmp_path).read_text())["token"] == "other"  # not ours to give back


def test_a_holder_that_cannot_ask_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(NAME, str(tmp_path), **QUICK | {"renew_s": 3600.0})
    lease.acquire()
    now = study.driver.lease.seconds_awake_or_not()
    monkeypatch.setattr(study.driver.lease, "seconds_awake_or_not", lambda: now + 60)

    def away(*_: object, **__: object) -> bytes:
        raise StorageError("cannot read it: away")

    monkeypatch.setattr(study.driver.lease, "read_bytes", away)
    with pytest.raises(StorageError, match="away"):
        lease.check()


def test_of_two_that_start_together_in_a_folder_one_runs(tmp_path: Path) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def run() -> None:
        start.wait()
        try:
            Lease(NAME, str(tmp_path)).acquire()
            outcomes.append("runs")
        except StudyError:
            outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 5 + ["runs"]


def test_all_or_none(tmp_path: Path) -> None:
    busy = Lease("b", str(tmp_path))
    busy.acquire()
    with pytest.raises(StudyError, match="study b is being run"), holding(["a", "b"], str(tmp_path)):
        pass
    with holding(["a"], str(tmp_path)) as leases:
        assert [lease.study for lease in leases] == ["a"]
    assert not (tmp_path / "leases" / "a.json").exists()


def test_a_holder_says_who_it_is() -> None:
    assert str(Holder(**holder())) == "process 4711 on node-7"  # type: ignore[arg-type]
