"""Precision of the products: allowed devices, setting and restoring it, rounding in bf16."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager, nullcontext

import pytest
import torch

from trainables.config import paper_config
from trainables.data.batching import zipf_tokens
from trainables.fused import matmul as products
from trainables.fused.matmul import (
    Memory,
    add_outer,
    operand,
    product,
    product_sum,
    recurrent_operand,
    wide_product,
)
from trainables.fused.precision import PRECISIONS, bf16_instructions, check_precision, default_precision, use_precision
from trainables.fused.single import Step
from trainables.models import build_model
from trainables.models.dropout import draw_masks
from trainables.pack.pack import Pack
from trainables.recipes import VARIANTS
from trainables.trial.training import Training


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
        ("tf32", "cpu", "precision 'tf32' needs a CUDA device: on 'cpu' it must be fp32 or bf16"),
        ("fp16", "cuda", "must be one of fp32, tf32, bf16, got 'fp16'"),
    ],
)
def test_a_precision_that_the_device_lacks_is_refused(precision, device, message):
    with pytest.raises(ValueError, match=message), use_precision(precision, device):
        pass
    with pytest.raises(ValueError, match="must be"):
        Training(paper_config("re", "tiny", "toy"), torch.zeros(10_000), precision="tf32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_use_precision_sets_and_restores_the_precision(precision):
    before = settings()
    inside = []

    def failing():
        inside.extend(settings())
        # torch's older getters, which raise if the older setting and the newer disagree
        assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
        assert torch.get_float32_matmul_precision() == ("high" if precision == "tf32" else "highest")
        raise KeyError

    with pytest.raises(KeyError), use_precision(precision, "cuda"):
        failing()
    operands = torch.bfloat16 if precision == "bf16" else None
    assert inside == ["tf32" if precision == "tf32" else "ieee", False, operands]
    assert settings() == before
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(
    ("probes", "expected"), [((), None), (("amx_tile",), "AMX"), (("avx512_bf16",), "AVX512-BF16")]
)
def test_bf16_on_a_cpu_needs_its_instructions(monkeypatch, probes, expected):
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in probes)
    assert bf16_instructions() == expected
    if expected is None:
        with pytest.raises(ValueError, match=r"AVX512-BF16 or AMX: this CPU has neither, .* slower than fp32"):
            check_precision("bf16", "cpu")
    else:
        assert check_precision("bf16", "cpu") == "bf16"


def test_without_torchs_probes_there_is_no_bf16(monkeypatch):
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported")
    assert bf16_instructions() is None


@contextmanager
def bf16_products():
    """bf16 on this CPU, whether it pays or not."""
    before = products.operand_dtype()
    products.set_operand_dtype(torch.bfloat16)
    try:
        yield
    finally:
        products.set_operand_dtype(before)


def rounded(x):
    return x.bfloat16().double()


@pytest.mark.parametrize("k", [1, 3])
def test_bf16_rounds_operands_and_on_a_cpu_results_and_sums_in_float32(k):
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.rand(k, *shape, generator=generator) for shape in ((5, 900), (900, 4), (5, 4)))
    bias, left = torch.rand(k, 4, generator=generator), torch.rand(k, 5, 6, generator=generator)
    exact, outer = rounded(a) @ rounded(b), rounded(left).transpose(1, 2) @ rounded(c)
    out, memory = torch.ones(k, 6, 4), Memory(torch.device("cpu"))
    with bf16_products():
        found = [product(a, b), product(operand(a), operand(b)), product(a, b, bias), product_sum(c, a, operand(b))]
        wide = wide_product(a, b, memory, "wide")
        add_outer(out, left, c, overwrite=False, memory=memory)
        assert operand(a.double()).dtype == torch.float64
        double = product(a.double(), b.double())
        unrounded = product_sum(c, a, b)
        assert recurrent_operand(torch.ones(k, 300, 400)).dtype == torch.bfloat16
        assert recurrent_operand(torch.ones(k, 30, 40)).dtype == torch.float32
    expected = [exact, exact, exact + bias.double().unsqueeze(1), exact + c.double(), outer + 1, exact]
    for x, y in zip([*found, out, wide.float()], expected, strict=True):
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), y, rtol=2**-8, atol=0)  # half a unit in the last of 8 bits
    # 900 numbers of about a half: sums kept in bf16 would stop growing at 128 to 256
    assert wide.dtype == torch.bfloat16
    assert float(exact.min()) > 180
    assert (found[0].double() - a.double() @ b.double()).abs().max() > 1e-4
    torch.testing.assert_close(double, a.double() @ b.double(), rtol=1e-14, atol=0)
    torch.testing.assert_close(unrounded, c + a @ b, rtol=1e-5, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bf16_window_differs_from_fp32_by_rounding_alone(variant):
    """Losses and every parameter's gradient, against the same window in fp32."""
    config = dataclasses.replace(paper_config(variant, "tiny", "ptb"), init_range=0.5)  # scores that matter
    found = {}
    for precision in ("fp32", "bf16"):
        generator = torch.Generator().manual_seed(3)
        tokens = torch.randint(10_000, (36, 20), generator=generator)
        model = build_model(config, generator=generator, word_major=False)
        kept = draw_masks(20, config.hidden_size, config.drop_prob, generator)
        with bf16_products() if precision == "bf16" else nullcontext():
            step = Step(model, config)
            ce, augmented, _ = step.gradients(tokens[:-1], tokens[1:], kept, step.zero_state())
        found[precision] = ce, augmented, step.named_gradients()
    torch.testing.assert_close(found["bf16"][0], found["fp32"][0], rtol=1e-4, atol=0)
    torch.testing.assert_close(found["bf16"][1], found["fp32"][1], rtol=2e-2, atol=0)
    for name, exact in found["fp32"][2].items():
        error = torch.linalg.vector_norm(found["bf16"][2][name] - exact) / torch.linalg.vector_norm(exact)
        assert 1e-5 < error < 2e-2, (name, float(error))


@pytest.mark.skipif(bf16_instructions() is None, reason="this CPU has no bf16 products")
def test_evaluation_is_in_fp32_whatever_the_trainings_precision():
    tokens = zipf_tokens(401, 4000, seed=0)
    perplexities = []
    for precision in ("fp32", "bf16"):
        training = Training(paper_config("re", "tiny", "toy"), tokens, precision=precision)
        perplexities.append(training.evaluate(tokens, eos_id=0))
        pack = Pack(training.config, tokens, 1, precision=precision)
        pack.admit(training.config)
        perplexities.append(pack.evaluate(tokens, eos_id=0)[0])
        training.train_epoch()
        weights = training.model_state()
    assert len(set(perplexities)) == 1
    trained = Training(paper_config("re", "tiny", "toy"), tokens)
    trained.train_epoch()
    assert not torch.equal(trained.model_state()["embedding"], weights["embedding"])  # bf16 was in force


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
