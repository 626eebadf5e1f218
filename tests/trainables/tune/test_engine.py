"""The engine without Ray: threads request epochs, as ``PackedTrainable`` does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.trainables.tune.test_trainable import TOKENS, Local, job, numbers, run
from trainables.config import TrialConfig
from trainables.storage.checkpoint import CheckpointError
from trainables.trial.trial_run import Texts
from trainables.tune.engine import PackEngine


def make_engine(num_slots=3, *, test=lambda: TOKENS[400:800]):
    template = TrialConfig.from_dict(job("")["trial"])
    texts = Texts(valid=TOKENS[:400], test=test, eos_id=0)
    return PackEngine(template, num_slots, TOKENS, texts, torch.device("cpu"))


def run_packed(engine, jobs, *, epochs=4):
    """All trials at once, each asking for its epochs one after the other; reports by job."""

    def trial(one):
        reports = []
        while len(reports) < epochs and not (reports and reports[-1]["done"]):
            reports.append(engine.epoch(one))
        engine.leave(one)
        return reports

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(trial, jobs))


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr("trainables.tune.trainable.ray.get", lambda _: TOKENS[400:800])


def differing(storage, number, **changes):
    return job(storage, f"random-{number:04d}", lr=0.5 + 0.2 * number, drop_prob=0.1 * number, **changes)


@pytest.mark.parametrize("num_slots", [1, 2, 5])
def test_packed_trials_report_what_they_would_alone(tmp_path, num_slots):
    """More trials than slots: each gets one as it falls free."""
    whole = [run(Local(differing(tmp_path / "a", i)), 4) for i in range(5)]
    packed = run_packed(make_engine(num_slots), [differing(tmp_path / "b", i) for i in range(5)])
    assert [numbers(reports) for reports in packed] == [numbers(reports) for reports in whole]


def test_a_trial_goes_from_a_pack_to_a_process_and_back(tmp_path):
    whole = run(Local(job(tmp_path / "a")), 4)
    engine = make_engine()
    first = run_packed(engine, [job(tmp_path / "b")], epochs=1)[0]
    second = run(Local(job(tmp_path / "b", recorded_epochs=1)), 2)
    third = run_packed(engine, [job(tmp_path / "b", recorded_epochs=3)], epochs=1)[0]
    assert numbers(first + second + third) == numbers(whole)


def test_a_diverging_trial_fails_alone(tmp_path):
    whole = run(Local(differing(tmp_path / "a", 1)), 4)
    bad = job(tmp_path / "b", "random-0009", lr=1e30, max_grad_norm=1e30)
    packed = run_packed(make_engine(2), [bad, differing(tmp_path / "b", 1)])
    assert "failure" in packed[0][-1]
    assert packed[0][-1]["done"]
    assert numbers(packed[1]) == numbers(whole)


def test_a_trial_with_a_broken_checkpoint_fails_alone(tmp_path):
    whole = run(Local(differing(tmp_path / "a", 1)), 2)
    run(Local(job(tmp_path / "b", "random-0009")), 1)
    next((tmp_path / "b").rglob("last.pt")).write_bytes(b"broken")
    engine = make_engine(2)
    with pytest.raises(CheckpointError, match="not a usable checkpoint"):
        engine.epoch(job(tmp_path / "b", "random-0009"))
    assert numbers(run_packed(engine, [differing(tmp_path / "b", 1)], epochs=2)[0]) == numbers(whole)


def test_a_trial_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match="tie_weights must be True here, got False"):
        make_engine().epoch(job(tmp_path, variant="al"))


def test_a_trial_without_requests_loses_its_slot_and_can_return(tmp_path, monkeypatch):
    monkeypatch.setattr("trainables.tune.engine.REQUEST_TIMEOUT_S", 0.2)
    whole = [run(Local(differing(tmp_path / "a", i)), 3) for i in range(2)]
    engine = make_engine(1)
    first = [engine.epoch(differing(tmp_path / "b", 0))]  # and then nothing: its actor is gone
    other = run_packed(engine, [differing(tmp_path / "b", 1)], epochs=3)[0]
    rest = run_packed(engine, [differing(tmp_path / "b", 0, recorded_epochs=1)], epochs=2)[0]
    assert numbers(other) == numbers(whole[1])
    assert numbers(first + rest) == numbers(whole[0])


def test_epochs_that_were_not_recorded_are_reported_again(tmp_path):
    first = run_packed(make_engine(), [job(tmp_path)], epochs=3)[0]
    again = run_packed(make_engine(), [job(tmp_path, recorded_epochs=1)], epochs=2)[0]
    assert again == first[1:]


def test_a_confirmation_reads_the_test_split_once(tmp_path):
    reads = []

    def test():
        reads.append(threading.current_thread())
        return TOKENS[400:800]

    options = {"keep_best": True, "evaluate_test": True}
    whole = run(Local(job(tmp_path / "a", **options)), 4)
    packed = run_packed(make_engine(test=test), [job(tmp_path / "b", **options), job(tmp_path / "b", "random-0007")])
    assert len(reads) == 1
    assert numbers(packed[0]) == numbers(whole)
    assert not any("evaluations" in row for row in packed[1])


def test_the_load_counts_trials_in_and_before_the_stack(tmp_path):
    engine = make_engine(1)
    assert engine.load() == 0
    engine.epoch(job(tmp_path))
    assert engine.load() == 1
    engine.leave(job(tmp_path))
    assert engine.load() == 0
