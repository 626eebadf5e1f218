"""Packs on a GPU, and the parts that only a GPU's pack uses, which run anywhere."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.trainables.packs import (
    TEXT,
    TOKENS,
    alone,
    diverging,
    make_config,
    make_pack,
    timeless,
)
from trainables.batching import to_streams, windows
from trainables.outcome import NonFiniteLossError
from trainables.pack_size import measure_num_slots, slots_that_fit
from trainables.packing import Pack
from trainables.products import add_rows, add_rows_flat
from trainables.recipes import VARIANTS
from trainables.stack_step import make_window
from trainables.window_table import WindowTable


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


def test_rows_are_added_in_one_call_as_in_many():
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(3, 5, 2, generator=generator, dtype=torch.float64)
    index, rows = torch.randint(5, (3, 9), generator=generator), torch.rand(3, 9, 2, generator=generator).double()
    one, many = table.clone(), table.clone()
    add_rows_flat(one, index, rows)
    add_rows(many, index, rows)
    torch.testing.assert_close(one, many, rtol=1e-14, atol=0)
    assert not torch.equal(one, table)


@pytest.mark.parametrize(("one", "two", "available", "expected"), [(30, 40, 100, 8), (30, 40, 29, 0), (30, 40, 30, 1)])
def test_slots_that_fit_fill_the_memory(one, two, available, expected):
    assert slots_that_fit(one, two, available) == expected


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS)
def test_on_a_gpu_a_graph_computes_what_the_cpu_does(variant, recwarn):
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
        for found, one in zip(epochs, expected, strict=True):
            assert dataclasses.asdict(timeless(found[slot])) == pytest.approx(dataclasses.asdict(one), rel=1e-8)
        text = pack.evaluate(TEXT, eos_id=9)[slot]
        assert text == pytest.approx(training.evaluate(TEXT, eos_id=9), rel=1e-8)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("tf32", 1e-2), ("bf16", 3e-2)])
def test_on_a_gpu_the_precisions_agree(precision, tolerance):
    config = make_config(0)
    pack = Pack(config, TOKENS, 2, device="cuda", precision=precision)
    slot = pack.admit(config)
    expected = alone(config, 1, torch.float32)[1][0]
    assert pack.train_epoch()[slot].train_loss == pytest.approx(expected.train_loss, rel=tolerance)


@pytest.mark.gpu
def test_on_a_gpu_the_number_of_slots_is_measured():
    assert measure_num_slots(make_config(0), device="cuda") > 10
