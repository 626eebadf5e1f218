"""The real command on the toy corpus: run, killed again and again, resumed, extended, reported."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from study.records.records import read_table
from tests.chaos.invariants import DEATHS, TIMES, Watch, always, at_the_end
from tests.support.blocks import check_blocks, in_search
from tests.support.processes import Machine, machine

# One trial at a time: only then do TPE and ASHA see the same history whatever happens in between. With this search seed
# a random draw beats the recipe, by 3 % after four epochs, so that there are two configurations to confirm.
STUDY = (
    "study.run", "--variant", "real", "--size", "tiny", "--corpus", "toy", "--num-samples", "6", "--max-epochs", "4",
    "--seeds", "2", "--search-seed", "7", "--max-concurrent", "1", "--gpus-per-trial", "0",
)  # fmt: skip

pytestmark = pytest.mark.slow


def frame(storage: Path, table: str, *keys: str) -> pd.DataFrame:
    rows = read_table(str(storage), table).to_pandas().drop(columns=TIMES + DEATHS, errors="ignore")
    return rows.sort_values(list(keys)).reset_index(drop=True)


def num_epochs(storage: Path) -> int:
    return read_table(str(storage), "epochs").num_rows


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in {seconds} s\n{log.read_text()}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    storage = tmp_path_factory.mktemp("undisturbed") / "results"
    with machine() as here:
        output = here.run(*STUDY, "--storage", str(storage), timeout=300)
        assert not list(here.folder.glob("study-tune-*"))  # Tune's own files go with the run
        return storage, output


def test_a_study_runs_to_its_end_and_says_what_is_next(undisturbed: tuple[Path, str]) -> None:
    storage, output = undisturbed
    assert f"records: {storage}" in output
    assert f"next:    python -m analysis.report --results {storage}" in output
    assert len(output.splitlines()) < 25, output  # and nothing of Tune's
    assert all(noise not in output for noise in ("Trial status", "Configuration for experiment", "WARNING"))
    trials = frame(storage, "trials", "trial_id")
    check_blocks(trials.to_dict("records"), num_samples=6, num_seeds=2)
    assert trials.loc[trials["block"] == "confirm", "origin"].nunique() == 2
    assert set(trials["status"]) <= {"complete", "pruned"}
    confirmed = trials.loc[trials["block"] == "confirm", "trial_id"]
    evaluations = read_table(str(storage), "evaluations").to_pylist()
    assert sorted((e["trial_id"], e["split"]) for e in evaluations) == sorted(product(confirmed, ("test", "valid")))
    runs = read_table(str(storage), "runs").to_pylist()
    assert [run["outcome"] for run in runs] == ["finished"]
    assert not list((storage / "checkpoints").rglob("last.pt"))


def check_same(storage: Path, undisturbed: Path) -> None:
    """Asserts that a study has ended with the records of an undisturbed one, but for times and attempts."""
    assert [*Watch(storage).look(), *always(storage), *at_the_end(storage, undisturbed)] == []


def test_a_study_killed_again_and_again_ends_like_one_that_was_not(
    tmp_path: Path, undisturbed: tuple[Path, str]
) -> None:
    storage = tmp_path / "results"
    seed = random.randrange(2**32)
    print(f"kills drawn from seed {seed}")
    moments = random.Random(seed)
    command = (*STUDY, "--storage", str(storage))

    def driver(here: Machine, process) -> None:
        process.send_signal(signal.SIGKILL)

    def everything(here: Machine, process) -> None:
        here.kill()

    def worker(here: Machine, process) -> None:
        before = num_epochs(storage)
        assert here.kill(containing="ray::ResourceTrainable")  # what Tune calls a trial's process
        wait_until(lambda: num_epochs(storage) > before, seconds=120, what="epoch after a worker's death", log=here.log)
        assert process.poll() is None  # Ray starts the trial again; nobody has to
        here.kill()

    with machine() as here:
        for fault in (driver, everything, worker, driver, everything):
            process = here.start(*command)
            done = num_epochs(storage)
            wait_until(
                lambda done=done: num_epochs(storage) > done, seconds=120, what="epoch after a start", log=here.log
            )
            time.sleep(moments.uniform(0.0, 2.0))
            if process.poll() is None:
                fault(here, process)
            process.wait(60)
        here.run(*command, timeout=300)
        check_same(storage, undisturbed[0])
        # The same line once more has nothing to do, and a larger budget goes on from there.
        before = frame(storage, "epochs", "trial_id", "epoch")
        here.run(*command, timeout=60)
        pd.testing.assert_frame_equal(frame(storage, "epochs", "trial_id", "epoch"), before)
        larger = [*command]
        larger[larger.index("--num-samples") + 1] = "8"
        here.run(*larger, timeout=300)
        after = frame(storage, "epochs", "trial_id", "epoch").merge(before, how="left", indicator=True)
        assert (after["_merge"] == "both").sum() == len(before)
        assert len(in_search(read_table(str(storage), "trials").to_pylist())) == 8


def test_a_packed_study_gives_the_same_records(
    tmp_path: Path, undisturbed: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed, and with the engine's process killed on the way. One trial at a time, as above."""
    monkeypatch.setenv("STUDY_FORCE_PACK", "1")
    storage = tmp_path / "results"
    with machine() as here:
        process = here.start(*STUDY, "--pack", "2", "--storage", str(storage))
        wait_until(lambda: num_epochs(storage) > 5, seconds=120, what="epochs", log=here.log)
        assert here.kill(containing="PackActor")
        assert process.wait(300) == 0, here.log.read_text()
        check_same(storage, undisturbed[0])


def test_several_trials_train_in_a_pack_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_FORCE_PACK", "1")
    packed = [*STUDY]
    packed[packed.index("--max-concurrent") :] = ["--gpus-per-trial", "0", "--pack", "3"]
    storage, alone = tmp_path / "packed", tmp_path / "alone"
    with machine() as here:
        here.run(*packed, "--storage", str(storage), timeout=300)
        here.run(*STUDY, "--storage", str(alone), timeout=300)
    keys = ("trial_id", "epoch")
    rows, expected = (
        frame(where, "epochs", *keys).query("block in ('default', 'random')") for where in (storage, alone)
    )
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), expected.reset_index(drop=True))


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_study_says_how_to_go_on(tmp_path: Path, signal_: signal.Signals) -> None:
    storage = tmp_path / "results"
    with machine() as here:
        process = here.start(*STUDY, "--storage", str(storage))
        wait_until(lambda: num_epochs(storage) > 0, seconds=120, what="epoch", log=here.log)
        process.send_signal(signal_)
        assert process.wait(60) == 130
        output = here.log.read_text()
        assert "interrupted; nothing is lost" in output
        assert f"next:    python -m {' '.join(STUDY)} --storage {storage}" in output
        assert "Traceback" not in output
        assert [run["outcome"] for run in read_table(str(storage), "runs").to_pylist()] == ["interrupted"]
        wait_until(lambda: not here.processes(), seconds=30, what="end of Ray's processes", log=here.log)


def test_a_time_budget_ends_a_study_in_order(tmp_path: Path) -> None:
    storage = tmp_path / "results"
    long = [*STUDY]
    long[long.index("--max-epochs") + 1] = "400"
    with machine() as here:
        output = here.run(*long, "--storage", str(storage), "--time-budget", "15s", timeout=120)
        assert "the time budget is used up; nothing is lost" in output
        (run,) = read_table(str(storage), "runs").to_pylist()
        assert run["outcome"] == "time_budget"
        (trial,) = read_table(str(storage), "trials").to_pylist()
        assert trial["status"] == "interrupted"
        before = num_epochs(storage)
        assert before > 0
        here.run(*long, "--storage", str(storage), "--time-budget", "15s", timeout=120)
        epochs = read_table(str(storage), "epochs")["epoch"].to_pylist()
        assert len(epochs) > before
        assert sorted(epochs) == list(range(1, len(epochs) + 1))


def test_a_second_driver_is_refused_and_named(tmp_path: Path) -> None:
    storage = tmp_path / "results"
    with machine() as here:
        first = here.start(*STUDY, "--storage", str(storage))
        wait_until(lambda: num_epochs(storage) > 0, seconds=120, what="epoch", log=here.log)
        here.log.write_bytes(b"")
        second = here.start(*STUDY, "--storage", str(storage))
        assert second.wait(60) == 1
        assert f"is being run by process {first.pid} on this machine" in here.log.read_text()
        assert first.poll() is None
