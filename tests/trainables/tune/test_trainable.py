import dataclasses
import math

import numpy as np
import pytest
import torch

from trainables.config import paper_config
from trainables.pack.pack import PackOfOne
from trainables.recipes import CORPORA
from trainables.storage.checkpoint import CheckpointError, CheckpointFolder
from trainables.trial.evaluation import token_log_probs
from trainables.trial.trial_run import TrialJob
from trainables.tune.trainable import VDLSTMTrainable

VOCAB = CORPORA["toy"].vocab_size
TOKENS = np.random.default_rng(0).integers(0, VOCAB, 3000).astype(np.int32) % 50
TIMES = {"tokens_per_s", "epoch_s", "peak_memory_bytes"}


class Local(VDLSTMTrainable):
    """The trainable outside Ray, on a corpus of its own."""

    def setup(self, config):
        super().setup(config, train=TOKENS, valid=TOKENS[:400], test=["the test split"], eos_id=0)


@pytest.fixture(autouse=True)
def test_split(monkeypatch):
    """Stands in for the object store; counts how often the test split is read."""
    reads = []

    def get(reference):
        assert reference == "the test split"
        reads.append(reference)
        return TOKENS[400:800]

    monkeypatch.setattr("trainables.tune.trainable.ray.get", get)
    return reads


def job(storage, trial_id="random-0001", *, max_epochs=4, variant="real", **changes):
    fields = {f.name for f in dataclasses.fields(TrialJob)}
    own = {k: v for k, v in changes.items() if k in fields}
    config = paper_config(variant, "tiny", "toy", seed=5, max_epochs=max_epochs)
    config = dataclasses.replace(config, **{k: v for k, v in changes.items() if k not in fields})
    return TrialJob(trial=config.to_dict(), study="s", trial_id=trial_id, storage=str(storage), **own).to_dict()


def run(trainable, steps):
    return [trainable.step() for _ in range(steps)]


def numbers(rows):
    def plain(value):
        return {split: scores.tolist() for split, scores in value.items()} if isinstance(value, dict) else value

    return [{k: plain(v) for k, v in row.items() if k not in TIMES} for row in rows]


@pytest.mark.parametrize("variant", ["baseline", "al", "re", "real"])
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path, variant):
    whole = run(Local(job(tmp_path / "a", variant=variant)), 4)
    first = run(Local(job(tmp_path / "b", variant=variant)), 2)
    rest = run(Local(job(tmp_path / "b", variant=variant, recorded_epochs=2)), 2)
    assert numbers(first + rest) == numbers(whole)
    assert [row["done"] for row in whole] == [False, False, False, True]


def test_in_a_pack_of_its_own_as_on_a_gpu_a_trial_reports_the_same(tmp_path, monkeypatch):
    options = {"keep_best": True, "evaluate_test": True}
    expected = run(Local(job(tmp_path / "a", **options)), 4)
    made = []

    def begin(config, train, state=None, *, device, precision):
        made.append(state is not None)
        return PackOfOne(config, train, state, device=device, precision=precision)

    monkeypatch.setattr("trainables.tune.trainable.begin_trial", begin)
    first = run(Local(job(tmp_path / "b", **options)), 2)
    last = Local(job(tmp_path / "b", recorded_epochs=2, **options))
    (tmp_path / "c").mkdir()
    last.save_checkpoint(str(tmp_path / "c"))
    last.load_checkpoint(str(tmp_path / "c"))
    assert numbers(first + run(last, 2)) == numbers(expected)
    assert made == [False, True, True]
    assert last.reset_config(job(tmp_path / "d", "random-0002", lr=1e30, max_grad_norm=1e30))
    assert "epoch" in next(row for row in iter(last.step, None) if row["done"])["failure"]


def test_epochs_that_were_not_recorded_are_reported_again_without_training(tmp_path, monkeypatch):
    first = run(Local(job(tmp_path)), 3)
    again = Local(job(tmp_path, recorded_epochs=1))
    monkeypatch.setattr("trainables.trial.training.Training.train_epoch", lambda _: pytest.fail("trained again"))
    assert run(again, 2) == first[1:]


def test_a_trial_that_had_ended_ends_again(tmp_path):
    last = run(Local(job(tmp_path)), 4)[-1]
    again = Local(job(tmp_path, recorded_epochs=4))
    assert again.step() == last
    assert last["done"]


def test_a_crash_while_saving_loses_no_more_than_the_epoch_in_flight(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_STORAGE_PATIENCE_S", "0")
    whole = run(Local(job(tmp_path / "a")), 3)
    trainable = Local(job(tmp_path / "b"))
    run(trainable, 2)

    def crash(*_):
        raise OSError("the plug is pulled")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(Exception, match="plug"):
        trainable.step()
    monkeypatch.undo()
    rest = run(Local(job(tmp_path / "b", recorded_epochs=2)), 1)
    assert numbers(rest) == numbers(whole[2:])


def test_an_actor_is_reused_as_if_it_were_new(tmp_path):
    fresh = run(Local(job(tmp_path / "a", variant="al")), 2)
    trainable = Local(job(tmp_path / "b", "random-0002", variant="re"))
    run(trainable, 2)
    assert trainable.reset_config(job(tmp_path / "b", variant="al"))
    assert numbers(run(trainable, 2)) == numbers(fresh)


def test_tunes_save_and_load_resume_bit_for_bit(tmp_path):
    whole = run(Local(job(tmp_path / "a")), 4)
    trainable = Local(job(tmp_path / "b"))
    run(trainable, 2)
    (tmp_path / "c").mkdir()
    trainable.save_checkpoint(str(tmp_path / "c"))
    other = Local(job(tmp_path / "d"))
    other.load_checkpoint(str(tmp_path / "c"))
    assert numbers(run(other, 2)) == numbers(whole[2:])


def test_a_loss_that_is_not_finite_ends_the_trial_with_the_reason(tmp_path):
    trainable = Local(job(tmp_path, lr=1e30, max_grad_norm=1e30))
    row = next(row for row in iter(trainable.step, None) if row["done"])
    assert "epoch" in row["failure"]
    assert "valid_ppl" not in row


def test_an_overflowing_perplexity_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("trainables.trial.training.Training.evaluate", lambda *_, **__: 1e4)
    assert Local(job(tmp_path)).step()["failure"]
    monkeypatch.setattr("trainables.trial.training.Training.evaluate", lambda *_, **__: math.nan)
    assert "validation loss" in Local(job(tmp_path / "b")).step()["failure"]


def test_the_test_split_is_read_once_at_the_end_with_the_best_weights(tmp_path, test_split, monkeypatch):
    losses = iter([2.0, 1.0, 1.5, 1.6])
    seen = []

    def single_stream(model, tokens, *, eos_id):
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return token_log_probs(model, tokens, eos_id=eos_id)

    monkeypatch.setattr("trainables.trial.training.Training.evaluate", lambda *_, **__: next(losses))
    monkeypatch.setattr("trainables.trial.trial_run.token_log_probs", single_stream)
    rows = run(Local(job(tmp_path, "confirm-paper-s101", keep_best=True, evaluate_test=True)), 4)
    assert test_split == ["the test split"]
    assert [set(r) & {"evaluations", "token_scores"} for r in rows[:3]] == [set()] * 3
    assert [(e["evaluator"], e["split"], e["measure"]) for e in rows[3]["evaluations"]] == [
        ("single_stream", "valid", "perplexity"),
        ("single_stream", "test", "perplexity"),
    ]
    for evaluation in rows[3]["evaluations"]:
        scores = rows[3]["token_scores"][evaluation["split"]]
        assert scores.dtype == torch.float32
        assert math.exp(-float(scores.double().mean())) == pytest.approx(evaluation["value"], rel=1e-12)
    best = CheckpointFolder(str(tmp_path), "s", "confirm-paper-s101").load("best")
    assert best["epoch"] == 2
    assert len(seen) == 2
    assert all(torch.equal(state[k], best["model"][k]) for state in seen for k in state)


def test_a_confirmation_resumed_before_its_last_epoch_finds_its_best_weights(tmp_path, test_split):
    options = {"keep_best": True, "evaluate_test": True}
    whole = run(Local(job(tmp_path / "a", **options)), 4)
    run(Local(job(tmp_path / "b", **options)), 3)
    rest = run(Local(job(tmp_path / "b", recorded_epochs=3, **options)), 1)
    assert numbers(rest) == numbers(whole[3:])


def test_other_trials_never_read_the_test_split(tmp_path, test_split):
    rows = run(Local(job(tmp_path)), 4)
    assert not test_split
    assert not any("evaluations" in row for row in rows)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    run(Local(job(tmp_path)), 1)
    with pytest.raises(CheckpointError, match="another configuration"):
        Local(job(tmp_path, lr=0.5))


def test_untied_variants_report_their_subspace_distance(tmp_path):
    assert 0 < run(Local(job(tmp_path, variant="al")), 1)[0]["subspace_distance"] <= 1
    assert run(Local(job(tmp_path, "b", variant="real")), 1)[0]["subspace_distance"] is None
