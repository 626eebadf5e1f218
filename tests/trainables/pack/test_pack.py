"""A pack against each of its trials alone, bit for bit; checkpoints both ways; refused input."""

from __future__ import annotations

import copy
import dataclasses
import io

import numpy as np
import pytest
import torch

from tests.support.packs import (
    TEXT,
    TOKENS,
    VOCAB,
    alone,
    alone_in_a_stack,
    assert_same_state,
    make_config,
    make_pack,
    stacked,
    timeless,
)
from trainables.models import num_params
from trainables.pack.pack import Pack, PackSlot
from trainables.pack.size import measure_num_slots
from trainables.recipes import VARIANTS
from trainables.trial.training import Training


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_packed_trial_is_the_trial_alone_bit_for_bit(variant, dtype):
    """Whatever is a trial's own differs; ``flow`` and ``stop`` are side by side."""
    pack = make_pack(variant=variant, dtype=dtype)
    configs = [make_config(number, variant) for number in range(4)]
    slots = [pack.admit(config) for config in configs]
    assert pack.occupied == dict(zip(slots, configs, strict=True))
    epochs = [pack.train_epoch() for _ in range(2)]
    losses = pack.evaluate(TEXT, eos_id=9, batch_size=3)
    for slot, config in zip(slots, configs, strict=True):
        training, expected = alone(config, 2, dtype)
        assert [timeless(epoch[slot]) for epoch in epochs] == expected
        assert_same_state(pack.state_dict(slot), training.state_dict())
        assert losses[slot] == training.evaluate(TEXT, eos_id=9, batch_size=3)
        assert PackSlot(pack, slot).subspace_distance() == training.subspace_distance()
    assert len({epoch.train_loss for epoch in epochs[1].values()}) == 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_trial_in_one_stack_does_not_depend_on_its_size_or_neighbours(variant, dtype):
    """The arithmetic that a GPU runs, here on the CPU. Alone outside a stack, the sums of an untied trial's norm
    are in another order: equal up to rounding there, bit for bit elsewhere."""
    pack = make_pack(5, variant, dtype, stacked=True)
    configs = [make_config(number, variant) for number in range(4)]
    slots = [pack.admit(config) for config in configs]
    epochs = [pack.train_epoch() for _ in range(2)]
    losses = pack.evaluate(TEXT, eos_id=9, batch_size=3)
    for slot, config in zip(slots, configs, strict=True):
        one, expected = alone_in_a_stack(config, 2, dtype)
        assert [timeless(epoch[slot]) for epoch in epochs] == expected
        assert_same_state(pack.state_dict(slot), one.state_dict())
        training, unstacked = alone(config, 2, dtype)
        if config.tie_weights:
            assert_same_state(pack.state_dict(slot), training.state_dict())
        tolerance = 0.0 if config.tie_weights else 1e-11 if dtype == torch.float64 else 2e-4
        assert dataclasses.asdict(expected[1]) == pytest.approx(dataclasses.asdict(unstacked[1]), rel=tolerance, abs=0)
        assert losses[slot] == pytest.approx(training.evaluate(TEXT, eos_id=9, batch_size=3), rel=tolerance, abs=0)


@stacked
@pytest.mark.parametrize("variant", ["re", "real"])
def test_a_checkpoint_goes_from_pack_to_training_and_back(variant, stacked):
    configs = [make_config(number, variant) for number in range(3)]
    pack = make_pack(3, variant, stacked=stacked)
    for config in configs:
        pack.admit(config)
    pack.train_epoch()
    file = io.BytesIO()
    torch.save(pack.state_dict(1), file)
    file.seek(0)
    longer = dataclasses.replace(configs[1], max_epochs=configs[1].max_epochs + 5)
    training = Training(longer, TOKENS, dtype=torch.float64)
    training.load_state_dict(torch.load(file, weights_only=True))
    pack.release(1)
    alone_result = training.train_epoch()
    assert timeless(alone_result) == alone(configs[1], 2)[1][1]
    others = pack.train_epoch()
    assert others.keys() == {0, 2}
    slot = pack.admit(longer, training.state_dict())
    view = PackSlot(pack, slot)
    assert (view.epoch, view.num_params) == (2, num_params(longer))
    third = pack.train_epoch()
    whole, expected = alone(longer, 3)
    assert timeless(third[slot]) == expected[2]
    assert view.epoch == 3
    assert_same_state(view.state_dict(), whole.state_dict())
    assert {n: w.tolist() for n, w in view.model_state().items()} == {
        n: w.tolist() for n, w in whole.model_state().items()
    }
    assert timeless(third[2]) == alone(configs[2], 3)[1][2]


@stacked
def test_a_state_is_a_snapshot(stacked):
    pack = make_pack(2, stacked=stacked)
    pack.admit(make_config(0))
    state = pack.state_dict(0)
    before = copy.deepcopy(state)
    pack.train_epoch()
    assert_same_state(state, before)
    assert not torch.equal(pack.state_dict(0)["model"]["embedding"], before["model"]["embedding"])


def test_a_pack_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    pack = make_pack(1)
    pack.admit(make_config(0))
    pack.train_epoch()
    assert torch.equal(torch.rand(3), expected)


def test_free_slots_cost_nothing_on_a_cpu():
    pack = make_pack(1000)
    assert not pack._stacks
    pack.admit(make_config(0))
    assert len(pack._stacks) == 1
    pack.release(0)
    assert not pack._stacks


def full_pack():
    pack = make_pack(1)
    pack.admit(make_config(0))
    return pack


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_pack(0), "num_slots must be a whole number of at least 1, got 0"),
        (lambda: make_pack(True), "num_slots must be"),
        (lambda: make_pack(precision="tf32"), "on 'cpu' it must be fp32 or bf16"),
        (lambda: Pack(make_config(0), TOKENS[:31], 1), "32 tokens at least, got 31"),
        (lambda: Pack(make_config(0), np.array([VOCAB] * 99), 1), rf"0\.\.{VOCAB - 1}, got {VOCAB}"),
        (lambda: full_pack().admit(make_config(1)), "all 1 are taken"),
        (lambda: make_pack().admit(make_config(0, "al")), "tie_weights must be True here, got False"),
        (lambda: make_pack().admit(make_config(0, "re")), "augmented_loss must be True here, got False"),
        (lambda: make_pack().admit(make_config(0, bptt=8)), "bptt must be 7 here, got 8"),
        (lambda: make_pack().admit(make_config(0, batch_size=2)), "batch_size must be 4 here, got 2"),
        (lambda: make_pack().admit(make_config(0, corpus="ptb")), "corpus must be 'toy' here, got 'ptb'"),
        (lambda: make_pack().admit(make_config(0, size="small")), "size must be 'tiny' here, got 'small'"),
        (lambda: full_pack().release(1), "these do: 0, got 1"),
        (lambda: make_pack().state_dict(0), "these do: none, got 0"),
        (lambda: PackSlot(make_pack(), 0), "these do: none, got 0"),
        (lambda: full_pack().evaluate(np.array([-1]), eos_id=0), "got -1"),
        (lambda: measure_num_slots(make_config(0), device="cpu"), "must be a CUDA device"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
