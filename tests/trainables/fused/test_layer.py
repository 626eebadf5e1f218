"""The hand-written layer against autograd, and several trials side by side."""

from __future__ import annotations

import pytest
import torch

from trainables.fused.layer import LayerBuffers, LayerWeights, layer_backward, layer_forward

TRIALS, STEPS, STREAMS, INPUTS, UNITS = 3, 5, 4, 6, 7


def randn(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def problem():
    g = torch.Generator().manual_seed(0)
    weights = LayerWeights(
        x=randn(TRIALS, 4 * UNITS, INPUTS, generator=g),
        h=randn(TRIALS, 4 * UNITS, UNITS, generator=g),
        bias=randn(TRIALS, 4 * UNITS, generator=g),
    )
    return {
        "weights": weights,
        "x": randn(TRIALS, STEPS, STREAMS, INPUTS, generator=g),
        "mask": (torch.rand(TRIALS, STREAMS, UNITS, generator=g) > 0.4).double() / 0.6,
        "hidden": randn(TRIALS, STREAMS, UNITS, generator=g),
        "cell": randn(TRIALS, STREAMS, UNITS, generator=g),
        "d_output": randn(TRIALS, STEPS, STREAMS, UNITS, generator=g),
    }


def plain_layer(weights, x, mask, hidden, cell):
    """One trial, one step after another, on autograd; returns dropped outputs and the state to carry."""
    dropped, outputs = hidden * mask, []
    for x_t in x:
        o, i, f, g = (x_t @ weights.x.T + dropped @ weights.h.T + weights.bias).chunk(4, -1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        dropped = hidden * mask
        outputs.append(dropped)
    return torch.stack(outputs), hidden, cell


def run(problem, trials, mask):
    """Forward and backward of some trials; returns outputs, final states and all gradients."""
    weights = LayerWeights(*(w[trials] for w in (problem["weights"].x, problem["weights"].h, problem["weights"].bias)))
    x, hidden, cell = (problem[n][trials] for n in ("x", "hidden", "cell"))
    buffers = LayerBuffers(len(x), STEPS, STREAMS, UNITS, like=x)
    gradients = LayerWeights(*(torch.full_like(w, float("nan")) for w in (weights.x, weights.h, weights.bias)))
    d_x = torch.full_like(x, float("nan"))
    output = layer_forward(x, weights, mask, hidden, cell, buffers).clone()
    layer_backward(problem["d_output"][trials], x, weights, mask, buffers, gradients, d_x)
    return output, buffers.final_hidden, buffers.final_cell, gradients.x, gradients.h, gradients.bias, d_x


@pytest.mark.parametrize("with_mask", [True, False])
def test_values_and_gradients_equal_autograd(problem, with_mask):
    mask = problem["mask"] if with_mask else None
    found = run(problem, slice(None), mask)
    for k in range(TRIALS):
        weights = LayerWeights(
            *(getattr(problem["weights"], n)[k].clone().requires_grad_() for n in ("x", "h", "bias"))
        )
        x = problem["x"][k].clone().requires_grad_()
        one = problem["mask"][k] if with_mask else torch.ones(STREAMS, UNITS, dtype=torch.float64)
        output, hidden, cell = plain_layer(weights, x, one, problem["hidden"][k], problem["cell"][k])
        gradients = torch.autograd.grad(
            (output * problem["d_output"][k]).sum(), (weights.x, weights.h, weights.bias, x)
        )
        for actual, expected in zip(found, (output, hidden, cell, *gradients), strict=True):
            torch.testing.assert_close(actual[k], expected.detach(), rtol=1e-12, atol=1e-12)


def test_dropped_units_are_zero_but_the_carried_state_is_not(problem):
    output, final_hidden, *_ = run(problem, slice(None), problem["mask"])
    dropped = problem["mask"] == 0
    assert (output[dropped.unsqueeze(1).expand_as(output)] == 0).all()
    assert (final_hidden[dropped] != 0).all()


@pytest.mark.parametrize("units", [8, 400])  # below and above the size from which the products change libraries
@pytest.mark.parametrize("transposed_memory", [False, True])
def test_single_precision_is_close_to_double(units, transposed_memory):
    generator = torch.Generator().manual_seed(0)
    x = randn(1, STEPS, STREAMS, units, generator=generator)
    shapes = {"x": (1, 4 * units, units), "h": (1, 4 * units, units), "bias": (1, 4 * units)}
    weights = {n: randn(*s, generator=generator) / units**0.5 for n, s in shapes.items()}
    state = torch.zeros(1, STREAMS, units, dtype=torch.float64)
    results = []
    for dtype in (torch.float64, torch.float32):
        w = {n: v.to(dtype) for n, v in weights.items()}
        if transposed_memory:
            w = {n: v if v.dim() == 2 else v.transpose(1, 2).contiguous().transpose(1, 2) for n, v in w.items()}
        buffers = LayerBuffers(1, STEPS, STREAMS, units, like=x.to(dtype))
        gradients, d_x = LayerWeights(*(torch.empty_like(v) for v in w.values())), torch.empty_like(x, dtype=dtype)
        args = (x.to(dtype), LayerWeights(**w), None)
        output = layer_forward(*args, state.to(dtype), state.to(dtype), buffers)
        layer_backward(output.contiguous(), *args, buffers, gradients, d_x)
        results.append([r.double() for r in (output, gradients.x, gradients.h, gradients.bias, d_x)])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
