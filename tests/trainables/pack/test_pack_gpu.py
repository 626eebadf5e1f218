"""Code that only a GPU's pack uses, tested on a CPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.support.packs import TOKENS, alone, make_config, make_pack, timeless
from trainables.data.batching import to_streams, windows
from trainables.fused import layer, precision
from trainables.fused import matmul as products
from trainables.fused.matmul import add_rows, add_rows_flat
from trainables.fused.step import make_window
from trainables.pack import size as pack_size
from trainables.pack.cuda_graph import WindowTable
from trainables.pack.size import measure_num_slots, slots_that_fit
from trainables.recipes import VARIANTS
from trainables.trial.training import Training


@pytest.mark.parametrize("augmented", [False, True])
def test_a_table_of_windows_gives_each_window(augmented):
    streams = to_streams(TOKENS, 4)
    table = WindowTable(streams, 7, augmented=augmented, device="cpu")
    memory = {id(x) for x in (table.window.inputs, table.window.targets)}
    for number, (inputs, targets) in enumerate(windows(streams, 7, partial=False)):
        found, expected = (
            table.load(number),
            make_window(inputs, targets, augmented=augmented, sparse=False, device="cpu"),
        )
        assert {id(x) for x in (found.inputs, found.targets)} == memory
        assert torch.equal(found.inputs, expected.inputs)
        assert torch.equal(found.targets, expected.targets)
        if augmented:
            words, index = found.distinct_targets
            assert torch.equal(words[index], expected.targets)
            assert words.numel() % 32 == 0
        else:
            assert found.distinct_targets is None
    assert number == 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pack_that_reads_from_the_table_is_the_same_pack(variant):
    """Up to rounding: more rows are made up in the table of distinct targets."""
    packs = [make_pack(2, variant, stacked=True) for _ in range(2)]
    packs[0]._table = WindowTable(packs[0]._streams, 7, augmented=VARIANTS[variant].augmented_loss, device="cpu")
    results = []
    for pack in packs:
        slot = pack.admit(make_config(1, variant))
        results.append([timeless(pack.train_epoch()[slot]) for _ in range(2)][1])
    assert dataclasses.asdict(results[0]) == pytest.approx(dataclasses.asdict(results[1]), rel=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sums_in_place_change_no_number(variant, monkeypatch):
    """As in a GPU's recurrence, forward and backward: nothing else reads the overwritten tensor."""
    expected = alone(make_config(1, variant), 2)[1]
    monkeypatch.setattr(layer, "product_sum", products._add_product)
    found = alone(make_config(1, variant), 2)[1]
    assert [dataclasses.asdict(f) for f in found] == [pytest.approx(dataclasses.asdict(e), rel=1e-12) for e in expected]


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_and_gradients_stored_rounded_change_no_product(variant, monkeypatch):
    """As in bf16 on a GPU, here on a CPU; only the biases sum gradients instead of multiplying them."""
    monkeypatch.setattr(precision, "bf16_instructions", lambda: "those of a test")
    monkeypatch.setattr(products, "ONEDNN_MIN_WEIGHTS", 0)  # small weights too are rounded on a GPU
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(layer, "step_dtype", lambda like, dtype=dtype: dtype)
        training = Training(make_config(1, variant), TOKENS[: 4 * (7 + 1)], precision="bf16")
        assert training._step.stack.buffers[0].hidden.dtype == dtype
        found.append((timeless(training.train_epoch()), training._step.named_gradients()))
    (result, gradients), (rounded_result, rounded_gradients) = found
    assert rounded_result.train_loss == result.train_loss
    assert rounded_result.train_total_loss == result.train_total_loss
    for name, gradient in gradients.items():
        assert rounded_gradients[name].dtype == torch.float32
        if "layers" in name and "bias" in name:
            torch.testing.assert_close(
                rounded_gradients[name], gradient, rtol=0, atol=4e-3 * float(gradient.abs().max())
            )
            assert not torch.equal(rounded_gradients[name], gradient)
        else:
            assert torch.equal(rounded_gradients[name], gradient), name


@pytest.mark.parametrize("transposed", [False, True])
def test_add_product_adds_or_overwrites(transposed):
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.rand(2, *shape, generator=generator).double() for shape in ((5, 7), (7, 4), (5, 4)))
    out = c.transpose(1, 2).contiguous().transpose(1, 2) if transposed else c.clone()
    assert products._add_product(out, a, b) is out
    torch.testing.assert_close(out, c + a @ b, rtol=1e-14, atol=0)
    products._add_product(out, a, b, beta=0)
    torch.testing.assert_close(out, a @ b, rtol=1e-14, atol=0)


def test_rows_are_added_in_one_call_as_in_many():
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(3, 5, 2, generator=generator, dtype=torch.float64)
    index, rows = torch.randint(5, (3, 9), generator=generator), torch.rand(3, 9, 2, generator=generator).double()
    one, many = table.clone(), table.clone()
    add_rows_flat(one, index, rows)
    add_rows(many, index, rows)
    torch.testing.assert_close(one, many, rtol=1e-14, atol=0)
    assert not torch.equal(one, table)


@pytest.mark.parametrize(
    ("two", "three", "available", "expected"), [(40, 50, 100, 8), (40, 50, 29, 0), (40, 50, 30, 1), (40, 40, 100, 62)]
)
def test_slots_that_fit_fill_the_memory(two, three, available, expected):
    assert slots_that_fit(two, three, available) == expected


@pytest.fixture
def memory(monkeypatch):
    """A GPU of 1,000 bytes whose libraries take 200 at first and for good; a slot takes 100, a pack 50."""
    taken = {"libraries": 0}

    def peak(template, num_slots, device, precision):
        first, taken["libraries"] = 200 - taken["libraries"], 200
        if 250 + 100 * num_slots > taken.get("size", 1000):
            raise torch.OutOfMemoryError
        return first + 50 + 100 * num_slots

    monkeypatch.setattr(pack_size, "_peak_bytes", peak)
    monkeypatch.setattr(pack_size, "MEMORY_SHARE", 1.0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000 - taken["libraries"], 1000))
    return taken


def test_memory_that_libraries_take_once_is_not_counted_per_slot(memory):
    assert measure_num_slots(make_config(0), device="cuda") == 7  # 200 + 50 + 7 * 100


@pytest.mark.parametrize(("size", "expected"), [(349, 0), (350, 1), (500, 2)])
def test_a_gpu_too_small_for_three_slots_gets_the_number_that_fitted(memory, size, expected):
    memory["size"] = size
    assert measure_num_slots(make_config(0), device="cuda") == expected
