"""Precision of the products: what is allowed where, that it is set and set back, and what bf16 does to a product."""

from __future__ import annotations

import pytest
import torch

from trainables import products
from trainables.config import paper_config
from trainables.precision import PRECISIONS, check_precision, default_precision, use_precision
from trainables.products import add_outer, operand, product, product_sum
from trainables.training import Training


def settings():
    matmul = torch.backends.cuda.matmul
    return matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction, products.operand_dtype()


@pytest.mark.parametrize(("device", "expected"), [("cpu", "fp32"), ("cuda", "tf32"), ("cuda:1", "tf32")])
def test_the_default_is_the_devices(device, expected):
    assert default_precision(device) == expected
    assert check_precision(expected, device) == expected


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("tf32", "cpu", "precision 'tf32' needs a CUDA device: on 'cpu' it must be fp32"),
        ("bf16", "cpu", "precision 'bf16' needs a CUDA device"),
        ("fp16", "cuda", "must be one of fp32, tf32, bf16, got 'fp16'"),
    ],
)
def test_what_a_device_does_not_have_is_refused(precision, device, message):
    with pytest.raises(ValueError, match=message), use_precision(precision, device):
        pass
    with pytest.raises(ValueError, match="must be"):
        Training(paper_config("re", "tiny", "toy"), torch.zeros(10_000), precision="tf32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_holds_inside_and_what_held_before_holds_after(precision):
    before = settings()
    inside = []

    def failing():
        inside.extend(settings())
        raise KeyError

    with pytest.raises(KeyError), use_precision(precision, "cuda"):
        failing()
    operands = torch.bfloat16 if precision == "bf16" else None
    assert inside == ["tf32" if precision == "tf32" else "ieee", False, operands]
    assert settings() == before


def rounded(x):
    return x.bfloat16().double()


@pytest.mark.parametrize("k", [1, 3])
def test_bf16_rounds_the_operands_and_nothing_else(k):
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.rand(k, *shape, generator=generator) for shape in ((5, 7), (7, 4), (5, 4)))
    bias, left = torch.rand(k, 4, generator=generator), torch.rand(k, 5, 6, generator=generator)
    exact = rounded(a) @ rounded(b)
    outer = rounded(left).transpose(1, 2) @ rounded(c)
    out = torch.ones(k, 6, 4)
    with use_precision("bf16", "cuda"):
        found = [product(a, b), product(operand(a), operand(b)), product(a, b, bias), product_sum(c, a, b)]
        add_outer(out, left, c, overwrite=False)
        assert operand(a.double()).dtype == torch.float64
        double = product(a.double(), b.double())
    expected = [exact, exact, exact + bias.double().unsqueeze(1), exact + c.double()]
    for x, y in zip([*found, out], [*expected, outer + 1], strict=True):
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), y, rtol=1e-6, atol=1e-6)
    assert (found[0].double() - a.double() @ b.double()).abs().max() > 1e-4
    torch.testing.assert_close(double, a.double() @ b.double(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_cpu_the_products_of_a_stack_are_those_of_each_alone(dtype):
    generator = torch.Generator().manual_seed(0)
    a, b, c, bias = (torch.rand(3, *s, generator=generator).to(dtype) for s in ((20, 48), (48, 192), (20, 192), (192,)))
    together = [product(a, b), product(a, b, bias), product_sum(c, a, b), torch.empty_like(b)]
    add_outer(together[3], a, c, overwrite=True)
    for k in range(3):
        x, y, z, w = (t[k : k + 1].clone() for t in (a, b, c, bias))
        one = [product(x, y), product(x, y, w), product_sum(z, x, y), torch.empty_like(y)]
        add_outer(one[3], x, z, overwrite=True)
        for all_trials, single in zip(together, one, strict=True):
            assert torch.equal(all_trials[k], single[0])
