"""A trial of a pack changes no other trial's numbers when it diverges, enters, leaves or is refused."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.support.packs import (
    TEXT,
    TOKENS,
    alone,
    alone_in_a_stack,
    assert_same_state,
    diverging,
    make_config,
    make_pack,
    stacked,
    timeless,
)
from trainables.recipes import VARIANTS
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.training import Training


@stacked
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_diverged_trial_is_quarantined_and_changes_no_other(variant, stacked):
    pack, undisturbed = (make_pack(3, variant, stacked=stacked) for _ in range(2))
    for number in (0, 1):
        undisturbed.admit(make_config(number, variant))
    pack.admit(make_config(0, variant))
    bad = pack.admit(diverging(2, variant))
    pack.admit(make_config(1, variant))
    first, expected = pack.train_epoch(), undisturbed.train_epoch()
    assert isinstance(first[bad], NonFiniteLossError)
    with pytest.raises(NonFiniteLossError) as error:
        Training(diverging(2, variant), TOKENS, dtype=torch.float64).train_epoch()
    assert str(first[bad]) == str(error.value)
    assert [timeless(first[s]) for s in (0, 2)] == [timeless(expected[s]) for s in (0, 1)]
    assert bad in pack.occupied
    with pytest.raises(ValueError, match="slot 1 must not have diverged, but training diverged: epoch 1, window"):
        pack.state_dict(bad)
    second, expected = pack.train_epoch(), undisturbed.train_epoch()
    assert second.keys() == {0, 2}
    assert pack.evaluate(TEXT, eos_id=9).keys() == {0, 2}
    pack.release(bad)
    assert pack.admit(make_config(3, variant)) == bad  # the slot is as good as new
    third, expected = pack.train_epoch(), undisturbed.train_epoch()
    assert [timeless(third[s]) for s in (0, 2)] == [timeless(expected[s]) for s in (0, 1)]
    for slot, other in ((0, 0), (2, 1)):
        assert_same_state(pack.state_dict(slot), undisturbed.state_dict(other))
    reference = alone_in_a_stack if stacked else alone
    assert timeless(third[bad]) == reference(make_config(3, variant), 1)[1][0]


@stacked
def test_a_nan_in_one_slots_weights_stays_there(stacked):
    """The loss is looked at between steps: until then the NaN is computed with."""
    pack, undisturbed = (make_pack(3, stacked=stacked) for _ in range(2))
    for each in (pack, undisturbed):
        for number in range(3):
            each.admit(make_config(number))
    state = pack.state_dict(1)
    pack.release(1)
    state["model"] = {name: torch.full_like(w, torch.nan) for name, w in state["model"].items()}
    assert pack.admit(make_config(1), state) == 1
    found, expected = pack.train_epoch(), undisturbed.train_epoch()
    assert "epoch 1, window 1 of 5: loss nan" in str(found[1])
    for stack in pack._stacks.values():
        assert all(torch.isfinite(w).all() for w in stack.weights.named.values())  # no NaN is kept
    for slot in (0, 2):
        assert timeless(found[slot]) == timeless(expected[slot])
        assert_same_state(pack.state_dict(slot), undisturbed.state_dict(slot))


def test_a_nan_found_late_changes_no_other_trial(monkeypatch):
    monkeypatch.setattr("trainables.pack.pack.windows_per_check", lambda device: 50)
    pack, undisturbed = (make_pack(2, stacked=True) for _ in range(2))
    for each in (pack, undisturbed):
        each.admit(make_config(0))
    pack.admit(diverging(2))
    found, expected = pack.train_epoch(), undisturbed.train_epoch()
    assert isinstance(found[1], NonFiniteLossError)
    assert "window 5" not in str(found[1]).split(" of ")[0]
    assert timeless(found[0]) == timeless(expected[0])
    assert_same_state(pack.state_dict(0), undisturbed.state_dict(0))


@stacked
def test_trials_come_and_go_at_epoch_boundaries(stacked):
    """Each trial begins when a slot is free, is at its own epoch, and sees nothing of the others' coming and going."""
    reference = alone_in_a_stack if stacked else alone
    pack, found = make_pack(2, stacked=stacked), {number: [] for number in range(4)}
    holders = {pack.admit(make_config(0)): 0}
    waiting = iter((1, 2, 3))
    lengths = {0: 3, 1: 1, 2: 2, 3: 2}
    for _ in range(8):
        if not holders:
            break
        for slot, result in pack.train_epoch().items():
            found[holders[slot]].append(timeless(result))
        for slot, number in list(holders.items()):
            if len(found[number]) == lengths[number]:
                pack.release(slot)
                del holders[slot]
        for number in itertools.islice(waiting, 2 - len(holders)):
            holders[pack.admit(make_config(number))] = number
    for number, length in lengths.items():
        assert found[number] == reference(make_config(number), length)[1]
    assert pack.occupied == {}
    assert pack.train_epoch() == {}
    assert pack.evaluate(TEXT, eos_id=9) == {}


@stacked
def test_a_trial_that_cannot_be_admitted_leaves_the_pack_as_it_was(stacked):
    pack = make_pack(2, stacked=stacked)
    pack.admit(make_config(0))
    state, other = pack.state_dict(0), make_config(1)
    wrong_shape = Training(other, TOKENS).state_dict()
    del wrong_shape["model"]["layers.0.bias"]
    for broken, error in (
        (state, "seed is 10 there and 11 here"),
        (wrong_shape, "weights must be"),
        ({**Training(other, TOKENS).state_dict(), "mask_generator": torch.zeros(3, dtype=torch.uint8)}, "RNG state"),
    ):
        with pytest.raises((ValueError, TypeError, RuntimeError), match=error):
            pack.admit(other, broken)
    assert pack.occupied == {0: make_config(0)}
    assert_same_state(pack.state_dict(0), state)
    pack.admit(other)
    reference = alone_in_a_stack if stacked else alone
    results = pack.train_epoch()
    assert [timeless(results[i]) for i in (0, 1)] == [reference(make_config(i), 1)[1][0] for i in (0, 1)]
