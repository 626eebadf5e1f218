"""The paper's equations, held to their closed forms and limits in float64."""

from __future__ import annotations

import math

import pytest
import torch

from trainables.models.losses import augmented_loss, cross_entropy, target_logits, total_loss

TOKENS, VOCAB, UNITS = 6, 11, 4


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(3)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "hidden": randn(TOKENS, UNITS),
        "embedding": randn(VOCAB, UNITS),
        "decoder": randn(VOCAB, UNITS),
        "bias": randn(VOCAB),
        "targets": torch.randint(VOCAB, (TOKENS,), generator=generator),
    }


def scores_and_targets(t):
    return t["hidden"] @ t["decoder"].T, target_logits(t["embedding"], t["targets"])


def test_cross_entropy_is_minus_the_log_probability(tensors):
    logits = scores_and_targets(tensors)[0]
    expected = -torch.softmax(logits, -1)[torch.arange(TOKENS), tensors["targets"]].log()
    torch.testing.assert_close(cross_entropy(logits, tensors["targets"]), expected)


def test_cross_entropy_gradient_is_y_minus_y_star(tensors):
    logits = scores_and_targets(tensors)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(logits, tensors["targets"]).sum(), logits)
    one_hot = torch.nn.functional.one_hot(tensors["targets"], VOCAB)
    torch.testing.assert_close(gradient, torch.softmax(logits, -1) - one_hot)


@pytest.mark.parametrize("tau", [1.0, 20.0])
def test_augmented_loss_is_the_divergence_of_eq_3_2(tensors, tau):
    scores, target_scores = scores_and_targets(tensors)
    y_tilde, y_hat = torch.softmax(target_scores / tau, -1), torch.softmax(scores / tau, -1)
    torch.testing.assert_close(
        augmented_loss(scores, target_scores, tau=tau), (y_tilde * (y_tilde / y_hat).log()).sum(-1)
    )


@pytest.mark.parametrize("target_gradient", ["flow", "stop"])
@pytest.mark.parametrize("tau", [0.7, 20.0])
def test_gradient_of_eq_3_4_to_machine_precision(tensors, tau, target_gradient):
    scores, target_scores = (x.requires_grad_() for x in scores_and_targets(tensors))
    loss = augmented_loss(scores, target_scores, tau=tau, target_gradient=target_gradient).sum()
    (gradient,) = torch.autograd.grad(loss, scores)
    expected = (torch.softmax(scores / tau, -1) - torch.softmax(target_scores / tau, -1)) / tau
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_gradient_through_the_target_distribution(tensors):
    tau = 5.0
    scores, target_scores = scores_and_targets(tensors)
    target_scores.requires_grad_()
    (gradient,) = torch.autograd.grad(augmented_loss(scores, target_scores, tau=tau).sum(), target_scores)
    y_tilde = torch.softmax(target_scores / tau, -1)
    r = torch.log_softmax(target_scores / tau, -1) - torch.log_softmax(scores / tau, -1)
    torch.testing.assert_close(gradient, y_tilde * (r - (y_tilde * r).sum(-1, keepdim=True)) / tau)
    stopped = augmented_loss(scores.requires_grad_(), target_scores, tau=tau, target_gradient="stop").sum()
    assert torch.autograd.grad(stopped, target_scores, allow_unused=True) == (None,)


def test_without_weight_the_total_is_exactly_the_cross_entropy(tensors):
    total, ce, _ = total_loss(**tensors, gamma=0.0, tau=20.0)
    plain, _, none = total_loss(**tensors)
    assert torch.equal(none, torch.zeros_like(plain))
    assert torch.equal(total, plain)
    assert torch.equal(ce, plain)


def test_total_is_j_plus_gamma_tau_j_aug_and_y_hat_has_no_bias(tensors):
    scores, target_scores = scores_and_targets(tensors)
    total, ce, augmented = total_loss(**tensors, gamma=0.65, tau=20.0)
    torch.testing.assert_close(ce, cross_entropy(scores + tensors["bias"], tensors["targets"]))
    torch.testing.assert_close(augmented, augmented_loss(scores, target_scores, tau=20.0))
    torch.testing.assert_close(total, ce + 13.0 * augmented)


def test_augmented_loss_vanishes_where_scores_and_target_scores_differ_by_a_constant(tensors):
    target_scores = scores_and_targets(tensors)[1]
    zero = torch.zeros(TOKENS, dtype=torch.float64)
    torch.testing.assert_close(augmented_loss(target_scores + 7.0, target_scores, tau=20.0), zero, rtol=0, atol=1e-14)
    # tied, and with the target's own vector as hidden state, the prediction is the target distribution
    embedding, targets = tensors["embedding"], tensors["targets"]
    total, ce, _ = total_loss(embedding[targets], targets, embedding=embedding, decoder=embedding, gamma=1.0, tau=20.0)
    torch.testing.assert_close(total, ce, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("tau", "error"), [(10.0, 0.07), (100.0, 0.007), (1000.0, 0.0007)])
def test_gradient_tends_to_eq_4_3_once_both_sides_are_centred(tau, error):
    generator = torch.Generator().manual_seed(0)
    scores, target_scores = (torch.randn(4, 300, generator=generator, dtype=torch.float64) for _ in range(2))
    scores.requires_grad_()
    (gradient,) = torch.autograd.grad(augmented_loss(scores, target_scores, tau=tau).sum(), scores)
    difference = scores.detach() - target_scores
    limit = difference - difference.mean(-1, keepdim=True)
    relative = float((tau**2 * 300 * gradient - limit).norm() / limit.norm())
    assert error / 3 < relative < error * 3


def test_twice_tau_squared_j_aug_tends_to_the_variance_of_the_difference():
    generator = torch.Generator().manual_seed(0)
    scores, target_scores = (torch.randn(4, 300, generator=generator, dtype=torch.float64) for _ in range(2))
    variance = (scores - target_scores).var(-1, unbiased=False)
    ratios = [2 * tau**2 * augmented_loss(scores, target_scores, tau=tau) / variance for tau in (10.0, 1000.0)]
    assert float((ratios[1] - 1).abs().max()) < 1e-3 < float((ratios[0] - 1).abs().max())


def test_extreme_scores_give_finite_losses():
    scores, target_scores = torch.tensor([[500.0, -500.0, 0.0]]), torch.tensor([[-400.0, 400.0, 0.0]])
    assert float(cross_entropy(scores, torch.tensor([1]))) == pytest.approx(1000.0)
    assert float(augmented_loss(scores, target_scores, tau=1.0)) == pytest.approx(1000.0)


def test_half_precision_scores_are_softmaxed_in_float32():
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert cross_entropy(scores, torch.zeros(3, dtype=torch.long)).dtype == torch.float32
    assert augmented_loss(scores, scores, tau=20.0).dtype == torch.float32


def test_bad_settings_are_refused(tensors):
    with pytest.raises(ValueError, match="flow, stop, got 'detach'"):
        augmented_loss(torch.zeros(1, 2), torch.zeros(1, 2), tau=1.0, target_gradient="detach")
    with pytest.raises(ValueError, match="together or not at all"):
        total_loss(**tensors, gamma=1.0)
    assert math.isfinite(float(total_loss(**tensors)[0].sum()))
