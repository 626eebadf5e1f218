"""Packs on a GPU: captured, refilled, in each precision, and their trials moved to the CPU and back."""

from __future__ import annotations

import dataclasses
import io

import pytest
import torch

from tests.support.packs import TEXT, TOKENS, alone, diverging, make_config, make_pack, timeless
from trainables.fused.precision import PRECISIONS
from trainables.pack.pack import Pack, PackOfOne, PackSlot, begin_trial
from trainables.pack.probe import in_own_process
from trainables.pack.size import measure_num_slots
from trainables.recipes import VARIANTS
from trainables.trial.epoch_result import NonFiniteLossError
from trainables.trial.training import Training


def assert_same_epochs(found, expected):
    """Up to the order of sums in float64."""
    for ours, theirs in zip(found, expected, strict=True):
        assert dataclasses.asdict(timeless(ours)) == pytest.approx(dataclasses.asdict(theirs), rel=1e-8)


def assert_same_weights(found, expected):
    for name, weight in expected.items():
        assert found[name].device.type == "cpu"
        torch.testing.assert_close(found[name], weight, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_graph_computes_what_the_cpu_does(variant, recwarn):
    """In float64; a GPU adds rows in no fixed order, so not bit for bit."""
    pack = make_pack(3, variant, device="cuda")
    assert not [w for w in recwarn if "no CUDA graph" in str(w.message)]
    configs = [make_config(number, variant) for number in range(2)]
    slots = [pack.admit(config) for config in configs]
    bad = pack.admit(diverging(2, variant))
    epochs = [pack.train_epoch() for _ in range(2)]
    assert isinstance(epochs[0][bad], NonFiniteLossError)
    for slot, config in zip(slots, configs, strict=True):
        training, expected = alone(config, 2)
        assert_same_epochs([epoch[slot] for epoch in epochs], expected)
        assert_same_weights(PackSlot(pack, slot).model_state(), training.model_state())
        text = pack.evaluate(TEXT, eos_id=9)[slot]
        assert text == pytest.approx(training.evaluate(TEXT, eos_id=9), rel=1e-8)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("tf32", 1e-2), ("bf16", 3e-2)])
def test_the_precisions_agree(precision, tolerance):
    config = make_config(0)
    pack = Pack(config, TOKENS, 2, device="cuda", precision=precision)
    slot = pack.admit(config)
    expected = alone(config, 1, torch.float32)[1][0]
    assert pack.train_epoch()[slot].train_loss == pytest.approx(expected.train_loss, rel=tolerance)


@pytest.mark.parametrize("make_first", [make_config, diverging])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_slot_that_falls_free_is_refilled_without_another_capture(variant, make_first):
    pack = make_pack(2, variant, device="cuda")
    stays, follows = make_config(1, variant), make_config(2, variant)
    slot, other = pack.admit(make_first(0, variant)), pack.admit(stays)
    graph = pack._stacks[0]._run
    first = pack.train_epoch()
    assert isinstance(first[slot], NonFiniteLossError) == (make_first is diverging)
    pack.release(slot)
    between = pack.train_epoch()
    assert between.keys() == {other}
    assert pack.admit(follows) == slot
    last = [pack.train_epoch() for _ in range(2)]
    assert pack._stacks[0]._run is graph
    training, expected = alone(follows, 2)
    assert_same_epochs([epoch[slot] for epoch in last], expected)
    assert_same_weights(PackSlot(pack, slot).model_state(), training.model_state())
    assert_same_epochs([epoch[other] for epoch in (first, between, *last)], alone(stays, 4)[1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_goes_from_the_gpu_to_the_cpu_and_back(variant):
    """Through a file, as in a study; an epoch each in a pack, on the CPU, and as a single trial on the GPU."""
    config = make_config(1, variant)
    whole, expected = alone(config, 4)

    def moved(state):
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    pack = make_pack(2, variant, device="cuda")
    view = PackSlot(pack, pack.admit(config))
    found = [pack.train_epoch()[0]]
    on_cpu = begin_trial(config, TOKENS, moved(view.state_dict()), device="cpu", dtype=torch.float64)
    found.append(on_cpu.train_epoch())
    by_itself = begin_trial(config, TOKENS, moved(on_cpu.state_dict()), device="cuda", dtype=torch.float64)
    found.append(by_itself.train_epoch())
    eager = Training(config, TOKENS, device="cuda", dtype=torch.float64)
    eager.load_state_dict(moved(by_itself.state_dict()))
    found.append(eager.train_epoch())
    assert_same_epochs(found, expected)
    assert_same_weights(eager.model_state(), whole.model_state())
    assert eager.epoch == 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_trial_by_itself_is_captured_and_the_same(variant, recwarn):
    config = make_config(1, variant)
    trial = begin_trial(config, TOKENS, device="cuda", dtype=torch.float64)
    assert isinstance(trial, PackOfOne)
    assert not [w for w in recwarn if "no CUDA graph" in str(w.message)]
    training, expected = alone(config, 2)
    assert_same_epochs([trial.train_epoch() for _ in range(2)], expected)
    assert_same_weights(trial.model_state(), training.model_state())
    assert trial.evaluate(TEXT, eos_id=9) == pytest.approx(training.evaluate(TEXT, eos_id=9), rel=1e-8)
    assert trial.peak_memory_bytes() > 0


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("variant", VARIANTS)
def test_kernel_by_kernel_a_trial_is_the_same_as_on_the_cpu(variant, number):
    """Without a graph; a single trial leaves out rows without a gradient and unused gradient through y-tilde."""
    config = make_config(number, variant)
    training = Training(config, TOKENS, device="cuda", dtype=torch.float64)
    other, expected = alone(config, 2)
    assert_same_epochs([training.train_epoch() for _ in range(2)], expected)
    assert_same_weights(training.model_state(), other.model_state())
    assert training.evaluate(TEXT, eos_id=9) == pytest.approx(other.evaluate(TEXT, eos_id=9), rel=1e-8)
    distance = other.subspace_distance()
    assert training.subspace_distance() == (None if distance is None else pytest.approx(distance, rel=1e-6))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_repeats_itself_bit_for_bit(variant, precision):
    """A GPU's threads run in any order; their sums must have a fixed one."""
    config = make_config(0, variant, batch_size=8)
    runs = []
    for num_slots in (1, 1, 3, 3):
        pack = Pack(config, TOKENS, num_slots, device="cuda", precision=precision)
        for seed in range(num_slots):
            pack.admit(dataclasses.replace(config, seed=seed))
        losses = [[timeless(result) for result in pack.train_epoch().values()] for _ in range(3)]
        runs.append((losses, PackSlot(pack, 0).model_state()))
    for (losses, weights), (again, weights_again) in (runs[:2], runs[2:]):
        assert losses == again
        for name, weight in weights.items():
            assert torch.equal(weight, weights_again[name]), name


def test_the_number_of_slots_is_measured_and_nothing_is_kept():
    torch.zeros(1, device="cuda")
    before = torch.cuda.memory_reserved()
    assert in_own_process(measure_num_slots, make_config(0), device="cuda") > 10
    assert torch.cuda.memory_reserved() == before
