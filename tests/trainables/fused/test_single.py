"""The fused and the plain step against the oracle in float64: every gradient of every parameter."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.autograd import parameters, run_window, sgd_step
from trainables.config import TrialConfig, paper_config
from trainables.fused.single import Step
from trainables.models import make_model
from trainables.models.dropout import Variational, draw_masks, scale_masks
from trainables.trial.plain_step import PlainStep

CASES = [("baseline", None), ("re", None), ("al", "flow"), ("al", "stop"), ("real", "flow"), ("real", "stop")]


def make_config(variant: str, target_gradient: str | None, **changes: object) -> TrialConfig:
    config = paper_config(variant, "tiny", "toy", seed=0)
    return dataclasses.replace(config, target_gradient=target_gradient, **changes)


def check_windows(
    config: TrialConfig,
    *,
    hidden_size: int,
    vocab_size: int,
    unit_major: bool,
    num_windows: int = 2,
    tolerance: float = 1e-10,
) -> None:
    """Runs windows with both steps and the oracle, comparing losses, states, gradients, norms and updated weights."""
    generator = torch.Generator().manual_seed(config.seed)
    model = make_model(
        vocab_size, hidden_size, tie_weights=config.tie_weights, init_range=0.4, generator=generator,
        word_major=not unit_major, dtype=torch.float64,
    )  # fmt: skip
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bias" in name:  # zero at the start: not zero here, so that a bias in the wrong place is seen
                p.uniform_(-0.5, 0.5, generator=generator)
    weights, plain = parameters(model), copy.deepcopy(model)
    plain.dropout = Variational(config)
    steps = [(model, Step(model, config)), (plain, PlainStep(plain, config))]
    states: list[Any] = [step.zero_state() for _, step in steps]
    reference_state = states[0]
    loss_settings = {"gamma": config.gamma, "tau": config.tau, "target_gradient": config.target_gradient or "stop"}
    for _ in range(num_windows):
        tokens = torch.randint(vocab_size, (config.bptt + 1, config.batch_size), generator=generator)
        kept = draw_masks(config.batch_size, hidden_size, config.drop_prob, generator)
        masks = scale_masks(kept, config.drop_prob, input_dropout=config.input_dropout, like=model.embedding.detach())
        expected = run_window(weights, tokens[:-1], tokens[1:], reference_state, masks, **loss_settings)
        reference_state = expected.state
        gradients = torch.autograd.grad(expected.loss, list(weights.values()), retain_graph=True)
        norm = sgd_step(weights, expected.loss, lr=0.7, max_grad_norm=config.max_grad_norm)
        for number, (trained, step) in enumerate(steps):
            ce, aug, states[number] = step.gradients(tokens[:-1], tokens[1:], kept, states[number])
            state = states[number] if trained is model else tuple(map(torch.stack, zip(*states[number], strict=True)))
            torch.testing.assert_close(ce, expected.cross_entropy.detach(), rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(aug, expected.augmented.detach(), rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(state, expected.state, rtol=tolerance, atol=tolerance)
            actual = step.named_gradients()
            assert set(actual) == set(weights)
            for name, gradient in zip(weights, gradients, strict=True):
                torch.testing.assert_close(
                    actual[name], gradient, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
                )
            assert float(step.update(0.7)) == pytest.approx(norm, rel=tolerance)
            for name, p in trained.named_parameters():
                torch.testing.assert_close(p.detach(), weights[name].detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("unit_major", [False, True])
@pytest.mark.parametrize("input_dropout", [False, True])
@pytest.mark.parametrize(("variant", "target_gradient"), CASES)
def test_every_gradient_equals_autograd(variant, target_gradient, input_dropout, unit_major):
    config = make_config(
        variant, target_gradient, drop_prob=0.4, input_dropout=input_dropout, batch_size=4, bptt=6, max_grad_norm=0.5
    )
    check_windows(config, hidden_size=7, vocab_size=23, unit_major=unit_major)


@settings(max_examples=40, deadline=None)
@given(
    case=st.sampled_from(CASES),
    hidden_size=st.integers(1, 9),
    vocab_size=st.integers(2, 30),
    batch_size=st.integers(1, 5),
    bptt=st.integers(1, 8),
    drop_prob=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
    tau=st.floats(0.5, 80.0),
    gamma=st.floats(0.0, 2.0),
    input_dropout=st.booleans(),
    unit_major=st.booleans(),
    max_grad_norm=st.sampled_from([0.01, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_gradients_equal_autograd_for_any_shape_and_setting(
    case,
    hidden_size,
    vocab_size,
    batch_size,
    bptt,
    drop_prob,
    tau,
    gamma,
    input_dropout,
    unit_major,
    max_grad_norm,
    seed,
):
    variant, target_gradient = case
    loss = {"tau": tau, "gamma": gamma} if target_gradient else {}
    config = make_config(
        variant, target_gradient, drop_prob=drop_prob, input_dropout=input_dropout, batch_size=batch_size, bptt=bptt,
        max_grad_norm=max_grad_norm, seed=seed, **loss,
    )  # fmt: skip
    check_windows(config, hidden_size=hidden_size, vocab_size=vocab_size, unit_major=unit_major, tolerance=1e-9)


@pytest.mark.parametrize("target_gradient", [None, "flow", "stop"])
def test_the_tied_gradient_is_the_input_paths_plus_the_output_paths(target_gradient):
    """Section 4: an untied model with the same matrix on both sides, and no bias, splits it in two."""
    gradients = {}
    for tied in (True, False):
        variant = {(True, False): "re", (True, True): "real", (False, False): "baseline", (False, True): "al"}
        config = make_config(variant[tied, target_gradient is not None], target_gradient, batch_size=3, bptt=5)
        generator = torch.Generator().manual_seed(0)
        model = make_model(17, 6, tie_weights=tied, init_range=0.5, generator=generator, dtype=torch.float64)
        if model.decoder_weight is not None:
            model.decoder_weight.data.copy_(model.embedding.data)
        tokens = torch.randint(17, (6, 3), generator=torch.Generator().manual_seed(1))
        kept = draw_masks(3, 6, 0.4, torch.Generator().manual_seed(2))
        step = Step(model, config)
        step.gradients(tokens[:-1], tokens[1:], kept, step.zero_state())
        gradients[tied] = step.named_gradients()
    both = gradients[False]["embedding"] + gradients[False]["decoder_weight"]
    torch.testing.assert_close(gradients[True]["embedding"], both, rtol=1e-12, atol=1e-14)
