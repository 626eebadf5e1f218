"""The variational LSTM language model in plain autograd: the oracle of the fused step.

One step at a time, ``torch.sigmoid`` and ``torch.tanh`` on four named gates, full softmaxes over every token,
gradients by autograd. It shares no arithmetic with ``trainables``; it takes its weights from a model by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class ReferenceResult:
    """The results of a window."""

    loss: Tensor
    """J_tot summed over the steps, averaged over the streams."""
    cross_entropy: Tensor
    """Sum of J over all tokens."""
    augmented: Tensor
    """Sum of J_aug over all tokens."""
    logits: Tensor
    """(T, B, V)."""
    state: tuple[Tensor, Tensor]
    """(L, B, H) each, the hidden state undropped."""


def run_window(
    weights: Weights,
    inputs: Tensor,
    targets: Tensor,
    state: tuple[Tensor, Tensor],
    masks: Tensor,
    *,
    gamma: float | None = None,
    tau: float | None = None,
    target_gradient: str = "flow",
) -> ReferenceResult:
    """Forward over a window; ``loss.backward()`` gives the gradients.

    Args:
        weights: by the names of the model's parameters; tied if there is no ``decoder_weight``.
        inputs: (T, B).
        targets: (T, B).
        state: (L, B, H) each.
        masks: (L + 1, B, H): the input's, then each layer's.
    """
    embedding = weights["embedding"]
    decoder, bias = weights.get("decoder_weight", embedding), weights.get("decoder_bias")
    hidden, cell = list(state[0].unbind(0)), list(state[1].unbind(0))
    dropped = [h * m for h, m in zip(hidden, masks[1:], strict=True)]
    ce_sum = aug_sum = torch.zeros((), dtype=embedding.dtype)
    logits = []
    for x_words, y_words in zip(inputs, targets, strict=True):
        below = embedding[x_words] * masks[0]
        for layer in range(len(hidden)):
            w_x, w_h, b = (weights[f"layers.{layer}.{n}"] for n in ("weight_x", "weight_h", "bias"))
            o, i, f, g = (below @ w_x.T + dropped[layer] @ w_h.T + b).chunk(4, dim=1)
            cell[layer] = torch.sigmoid(f) * cell[layer] + torch.sigmoid(i) * torch.tanh(g)
            hidden[layer] = torch.sigmoid(o) * torch.tanh(cell[layer])
            dropped[layer] = hidden[layer] * masks[layer + 1]
            below = dropped[layer]
        scores = below @ decoder.T
        with_bias = scores if bias is None else scores + bias
        logits.append(with_bias)
        ce_sum = ce_sum - torch.log_softmax(with_bias, -1)[torch.arange(len(y_words)), y_words].sum()
        if gamma is not None and tau is not None:
            teacher = torch.softmax(embedding[y_words] @ embedding.T / tau, -1)
            if target_gradient == "stop":
                teacher = teacher.detach()
            student = torch.softmax(scores / tau, -1)
            aug_sum = aug_sum + (teacher * (teacher.log() - student.log())).sum()
    total = ce_sum if gamma is None or tau is None else ce_sum + gamma * tau * aug_sum
    return ReferenceResult(
        loss=total / inputs.shape[1],
        cross_entropy=ce_sum.detach(),
        augmented=aug_sum.detach(),
        logits=torch.stack(logits),
        state=(torch.stack(hidden).detach(), torch.stack(cell).detach()),
    )


def parameters(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of a model's parameters that record gradients."""
    return {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}


def sgd_step(weights: Weights, loss: Tensor, *, lr: float, max_grad_norm: float) -> float:
    """Clips by the global norm and updates in place; returns the norm before clipping."""
    gradients = torch.autograd.grad(loss, list(weights.values()))
    norm = float(sum((g**2).sum() for g in gradients)) ** 0.5
    with torch.no_grad():
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight -= lr * (max_grad_norm / norm if norm > max_grad_norm else 1.0) * gradient
    return norm
