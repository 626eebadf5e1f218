"""The losses as the paper writes them: the cross-entropy, the augmented loss and their sum.

These are the readable formulas, differentiable by autograd. ``fused/head.py`` computes the same values and their
gradients faster; the tests compare it with these.

Shapes: V words, H units, ... any leading axes. E is the embedding (V, H), the paper's L^T.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.recipes import TARGET_GRADIENTS


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """J (eq. 2.4) of each token, in nats, as logsumexp(logits) - logits[target].

    Args:
        logits: (..., V), W h + b (eq. 2.3).
        targets: (...) token ids.

    Returns:
        (...).
    """
    logits = _at_least_float32(logits)
    return torch.logsumexp(logits, -1) - logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def target_logits(embedding: Tensor, targets: Tensor) -> Tensor:
    """E u with u = E[target] the target's word vector (eq. 3.6), undropped.

    Args:
        embedding: (V, H).
        targets: (...) token ids.

    Returns:
        (..., V).
    """
    return F.embedding(targets, embedding) @ embedding.t()


def augmented_loss(scores: Tensor, target_scores: Tensor, *, tau: float, target_gradient: str = "flow") -> Tensor:
    """J_aug = KL(y-tilde || y-hat) of each token (eq. 3.1, 3.2), in nats.

    With q = log_softmax(target_scores / tau) and p = log_softmax(scores / tau) it is sum exp(q) (q - p), without
    logarithms or quotients of probabilities.

    Args:
        scores: (..., V), W h without the bias (eq. 3.1).
        target_scores: (..., V), E u (``target_logits``).
        tau: the temperature.
        target_gradient: ``flow`` or ``stop``: whether gradient passes through y-tilde.

    Returns:
        (...).

    Raises:
        ValueError: on any other target_gradient.
    """
    if target_gradient not in TARGET_GRADIENTS:
        raise ValueError(f"target_gradient must be one of {', '.join(TARGET_GRADIENTS)}, got {target_gradient!r}")
    if target_gradient == "stop":
        target_scores = target_scores.detach()
    log_target = torch.log_softmax(_at_least_float32(target_scores) / tau, -1)
    log_predicted = torch.log_softmax(_at_least_float32(scores) / tau, -1)
    return (log_target.exp() * (log_target - log_predicted)).sum(-1)


def total_loss(
    hidden: Tensor,
    targets: Tensor,
    *,
    embedding: Tensor,
    decoder: Tensor,
    bias: Tensor | None = None,
    gamma: float | None = None,
    tau: float | None = None,
    target_gradient: str = "flow",
) -> tuple[Tensor, Tensor, Tensor]:
    """J_tot = J + alpha J_aug (eq. 3.3) with alpha = gamma tau (appendix A).

    Args:
        hidden: (..., H), the top layer's dropped hidden state.
        targets: (...) token ids.
        embedding: (V, H).
        decoder: (V, H), W of eq. 2.3; the embedding itself when tied.
        bias: (V,), b of eq. 2.3; None when tied. It does not enter y-hat (eq. 3.1).
        gamma: weight of the augmented loss in units of tau; None for the cross-entropy alone.
        tau: the temperature; None for the cross-entropy alone.
        target_gradient: as in ``augmented_loss``.

    Returns:
        J_tot, J and J_aug of each token, each (...); without the augmented loss J_tot is J, and J_aug zero.

    Raises:
        ValueError: if only one of gamma and tau is given.
    """
    if (gamma is None) != (tau is None):
        raise ValueError(f"gamma and tau are given together or not at all, got gamma={gamma!r}, tau={tau!r}")
    scores = hidden @ decoder.t()
    ce = cross_entropy(scores if bias is None else scores + bias, targets)
    if gamma is None or tau is None:
        return ce, ce, torch.zeros_like(ce)
    augmented = augmented_loss(scores, target_logits(embedding, targets), tau=tau, target_gradient=target_gradient)
    return ce + gamma * tau * augmented, ce, augmented


def _at_least_float32(x: Tensor) -> Tensor:
    """Widens scores so that softmaxes run in float32 or float64, whatever the precision of the matrix products."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
