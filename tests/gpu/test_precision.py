"""Each precision's errors against float64, of single products and of an epoch.

On a CPU, with operands rounded as the hardware rounds them, the products below were measured at 2.4e-7 in fp32, at
2.9e-4 in tf32 (7.7e-4 if it truncates instead) and at 2.3e-3 in bf16; an epoch at 3e-7, 2.4e-4 (1.9e-3) and 2.6e-3.
"""

from __future__ import annotations

import pytest
import torch

from tests.support.packs import TOKENS, make_config
from trainables.fused.matmul import add_outer, operand, product, product_sum
from trainables.fused.precision import use_precision
from trainables.pack.pack import PackOfOne
from trainables.trial.training import Training

PRODUCT_ERRORS = {"fp32": (0.0, 3e-6), "tf32": (1e-4, 1.5e-3), "bf16": (1.5e-3, 4e-3)}
EPOCH_ERRORS = {"fp32": (0.0, 1e-5), "tf32": (3e-5, 8e-3), "bf16": (5e-4, 2e-2)}


@pytest.fixture(autouse=True)
def _tensor_cores():
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has neither tf32 nor bf16")


def relative(found, exact, start=0.0):
    """The error's norm over that of the exact change from ``start``."""
    return float((found.double() - exact).norm() / (exact - start).norm())


def by_product(a, b):
    return product(a, b)


def by_product_with_a_bias(a, b):
    return product(a, b, torch.zeros(a.shape[0], b.shape[2], device=a.device))


def by_product_of_operands(a, b):
    return product(operand(a), operand(b))


def by_product_sum(a, b):
    return product_sum(torch.zeros(a.shape[0], a.shape[1], b.shape[2], device=a.device), a, b)


def by_add_outer(a, b):
    out = torch.zeros(a.shape[0], a.shape[1], b.shape[2], device=a.device)
    add_outer(out, a.transpose(1, 2), b, overwrite=False)
    return out


@pytest.mark.parametrize("precision", PRODUCT_ERRORS)
@pytest.mark.parametrize(
    "multiply", [by_product, by_product_with_a_bias, by_product_of_operands, by_product_sum, by_add_outer]
)
@pytest.mark.parametrize("num_trials", [1, 2])
def test_a_products_error_is_that_of_its_precision(num_trials, multiply, precision):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(num_trials, *shape, generator=generator) for shape in ((256, 512), (512, 256)))
    with use_precision(precision, "cuda"):
        found = multiply(a.cuda(), b.cuda())
    assert found.dtype == torch.float32
    least, most = PRODUCT_ERRORS[precision]
    assert least <= relative(found.cpu(), a.double() @ b.double()) <= most


@pytest.mark.parametrize("precision", PRODUCT_ERRORS)
def test_products_of_float64_are_never_rounded(precision):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 256, 256, generator=generator).double() for _ in range(2))
    with use_precision(precision, "cuda"):
        found = product(a.cuda(), b.cuda())
    assert relative(found.cpu(), a @ b) < 1e-14


@pytest.mark.parametrize("precision", EPOCH_ERRORS)
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("variant", ["re", "real", "al"])
def test_an_epochs_error_is_that_of_its_precision(variant, captured, precision):
    """A graph keeps the precision that held when it was captured."""
    config = make_config(0, variant)
    start = Training(config, TOKENS).state_dict()  # float64 would draw other weights
    exact = Training(config, TOKENS, dtype=torch.float64)
    exact.load_state_dict(start)
    exact.train_epoch()
    if captured:
        trial: Training | PackOfOne = PackOfOne(config, TOKENS, start, device="cuda", precision=precision)
    else:
        trial = Training(config, TOKENS, device="cuda", precision=precision)
        trial.load_state_dict(start)
    trial.train_epoch()
    name = "embedding" if config.tie_weights else "decoder_weight"
    error = relative(trial.model_state()[name], exact.model_state()[name], start["model"][name])
    least, most = EPOCH_ERRORS[precision]
    assert least <= error <= most
