"""Traces a GPU's step on tensors without memory, on any machine: counts its kernels and finds waits for the device.

A CUDA graph can record a step only if nothing in it waits for the device. A traced tensor has no values, so whatever
reads one (``item``, ``nonzero``, a truth value) fails, and copies to or from the CPU are found.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.config import paper_config
from trainables.fused.precision import PRECISIONS, use_precision
from trainables.fused.step import Window
from trainables.pack import stack
from trainables.recipes import VARIANTS

GPU = "cuda:0"  # with its number, or torch would look for a device
NUM_DISTINCT = 416
NO_KERNELS = ("prim.", "aten.empty", "aten.new_empty", "aten._unsafe_view")


class OperatorsAlone(TorchFunctionMode):
    """Calls operators directly instead of the methods that need a GPU, which a torch without CUDA refuses."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.__getitem__:
            return self._part(*args)
        if func is Tensor.__setitem__:
            part, value = self._part(*args[:2]), args[2]
            return torch.ops.aten.copy_(part, value) if isinstance(value, Tensor) else part.fill_(value)
        if func is Tensor.copy_:
            return torch.ops.aten.copy_(*args)
        if func is Tensor.contiguous:
            return args[0] if args[0].is_contiguous() else args[0].clone(memory_format=torch.contiguous_format)
        return func(*args, **(kwargs or {}))

    def _part(self, x, index):
        index, dim, tensors = index if isinstance(index, tuple) else (index,), 0, []
        for position, one in enumerate(index):
            if one is Ellipsis:
                dim = x.dim() - (len(index) - position - 1)
            elif isinstance(one, int):
                x = x.select(dim, one)
            elif isinstance(one, slice):
                x, dim = torch.ops.aten.slice(x, dim, one.start, one.stop, one.step or 1), dim + 1
            else:
                tensors.append(one)
        return torch.ops.aten.index(x, tensors) if tensors else x


class Launches(TorchDispatchMode):
    """Counts the kernels that a GPU would launch, and the elements of their tensors with rows over the vocabulary."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size, self.kernels, self.wide = vocab_size, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # This one's trace raises in torch up to 2.13 at least. It writes to ``out``.
        known = func is torch.ops.aten.baddbmm.dtype_out
        result = kwargs["out"] if known else func(*args, **(kwargs or {}))
        if func.is_view or str(func).startswith(NO_KERNELS):
            return result
        tensors = {id(x): x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)}.values()
        assert all(x.device == torch.device(GPU) for x in tensors), f"{func} leaves the device"
        self.kernels += 2 if func is torch.ops.aten.baddbmm.default else 1  # it copies its first operand
        wide = [x for x in tensors if x.dim() and x.shape[-1] == self.vocab_size and x.stride(-1) == 1]
        self.wide += sum(x.numel() for x in wide)
        return result


@pytest.fixture
def trace(monkeypatch):
    def staging(shape, device):
        masks = (torch.ones(shape, dtype=torch.bool, device=where) for where in ("cpu", device))
        return SimpleNamespace(**dict(zip(("on_cpu", "on_device"), masks, strict=True)))

    monkeypatch.setattr(stack, "MaskStaging", staging)  # its events and pinned memory are no part of the graph

    def run(config, num_trials, precision, *, refill=True, also=lambda slots: None):
        """Counts the launches of one window's graph."""
        device = torch.device(GPU)
        with FakeTensorMode(allow_non_fake_inputs=False), OperatorsAlone(), use_precision(precision, device):
            slots = stack.Stack(config, num_trials, refill=refill, device=device, dtype=torch.float32)
            words = torch.zeros(config.batch_size * config.bptt, dtype=torch.long, device=device)
            distinct = torch.zeros(NUM_DISTINCT, dtype=torch.long, device=device), words
            slots._window = Window(words, words, distinct if config.augmented_loss else None, distinct)
            with torch.no_grad(), Launches(config.vocab_size) as launches:
                slots._compute()
                also(slots)
        return launches

    return run


@pytest.mark.parametrize("target_gradient", ["flow", "stop"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("num_trials", "refill"), [(1, False), (1, True), (3, True)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_in_a_window_waits_for_the_gpu(variant, num_trials, refill, precision, target_gradient, trace):
    config = dataclasses.replace(paper_config(variant, "medium", "ptb"), bptt=3)
    if config.augmented_loss:
        config = dataclasses.replace(config, target_gradient=target_gradient)
    assert trace(config, num_trials, precision, refill=refill).kernels > 100


@pytest.mark.parametrize(
    "look",
    [
        lambda slots: slots._lr[0].item(),
        lambda slots: slots._latest.isfinite().all() or 1,
        lambda slots: slots._latest.nonzero(),
        lambda slots: slots._window.targets.unique(),
        lambda slots: slots._latest[slots._latest > 0],
        lambda slots: slots._latest.cpu(),
        lambda slots: slots._latest.to("cpu", non_blocking=True),
        lambda slots: torch.ones(3).to(GPU),
        lambda slots: slots._latest.copy_(torch.ones(1, 3)),
    ],
)
def test_a_read_of_a_tensors_values_is_found(look, trace):
    config = dataclasses.replace(paper_config("re", "tiny", "toy"), bptt=2)
    with pytest.raises((AssertionError, RuntimeError)):
        trace(config, 1, "fp32", also=look)


@pytest.mark.parametrize(
    ("variant", "precision", "kernels", "passes"),
    [("re", "tf32", 1020, 11.1), ("re", "bf16", 1020, 13.1), ("al", "tf32", 1110, 33.0), ("real", "bf16", 1090, 35.3)],
)
def test_a_window_launches_no_more_and_moves_no_more_than_it_did(variant, precision, kernels, passes, trace):
    """Passes: rows of a whole vocabulary that are read or written, in those of the window's scores."""
    config = paper_config(variant, "medium", "ptb")
    launches = trace(config, 1, precision)
    assert launches.kernels <= kernels
    assert launches.wide <= passes * config.batch_size * config.bptt * config.vocab_size
