"""``PackOfOne``, a single trial on a GPU, against ``Training``; ``begin_trial`` selects one by the device."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.support.packs import TEXT, TOKENS, alone, assert_same_state, diverging, make_config, timeless
from trainables.pack import pack as packing
from trainables.pack.pack import PackOfOne, begin_trial
from trainables.recipes import VARIANTS
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.training import Training


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pack_of_one_equals_training(variant):
    """Tied bit for bit; untied up to the order of sums."""
    config = make_config(1, variant)
    training, expected = alone(config, 2)
    trial = PackOfOne(config, TOKENS, dtype=torch.float64)
    found = [timeless(trial.train_epoch()) for _ in range(2)]
    tolerance = 0.0 if config.tie_weights else 1e-11
    for ours, theirs in zip(found, expected, strict=True):
        assert dataclasses.asdict(ours) == pytest.approx(dataclasses.asdict(theirs), rel=tolerance, abs=0)
    loss = training.evaluate(TEXT, eos_id=9, batch_size=3)
    assert trial.evaluate(TEXT, eos_id=9, batch_size=3) == pytest.approx(loss, rel=tolerance, abs=0)
    assert (trial.epoch, trial.num_params) == (training.epoch, training.num_params)
    distance = training.subspace_distance()
    assert trial.subspace_distance() == (None if distance is None else pytest.approx(distance, rel=1e-6))


def test_a_checkpoint_goes_either_way():
    config = make_config(1)
    whole, expected = alone(config, 3)
    trial = PackOfOne(config, TOKENS, dtype=torch.float64)
    found = [trial.train_epoch()]
    training = begin_trial(config, TOKENS, trial.state_dict(), device="cpu", dtype=torch.float64)
    assert isinstance(training, Training)
    found.append(training.train_epoch())
    trial = PackOfOne(config, TOKENS, training.state_dict(), dtype=torch.float64)
    found.append(trial.train_epoch())
    assert [timeless(f) for f in found] == expected
    assert_same_state(trial.state_dict(), whole.state_dict())
    with pytest.raises(ValueError, match="seed"):
        PackOfOne(dataclasses.replace(config, seed=3), TOKENS, training.state_dict())


def test_a_trial_that_diverges_says_so_as_training_does():
    with pytest.raises(NonFiniteLossError) as theirs:
        alone(diverging(1), 1)
    with pytest.raises(NonFiniteLossError) as ours:
        PackOfOne(diverging(1), TOKENS, dtype=torch.float64).train_epoch()
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_gets_a_pack_and_a_cpu_does_not(device, monkeypatch):
    asked = []
    monkeypatch.setattr(packing, "PackOfOne", lambda *arguments, **options: asked.append((arguments, options)))
    config = make_config(0)
    begin_trial(config, TOKENS, device="cpu")
    assert not asked
    begin_trial(config, TOKENS, {"a": "state"}, device=device, precision="bf16")
    assert asked == [
        ((config, TOKENS, {"a": "state"}), {"device": device, "dtype": torch.float32, "precision": "bf16"})
    ]
