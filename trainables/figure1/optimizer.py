"""The optimisers of section 6.2's experiment: plain SGD, Adam, or Adam with one-sided Shampoo for the decoder.

The distance of appendix B counts every direction of the hidden space alike, but W reaches the embedding's subspace at a
different speed along each. For SGD the speed is the variance of the hidden states in that direction; that of the first
of 300 directions is over a hundred thousand times that of the last (in one window, after 2 to 16 epochs). Adam divides
element by element, which leaves the column space of W's gradient, on which the theory of section 4 rests. One-sided
Shampoo (Gupta, Koren and Singer 2018, the right factor only) multiplies the gradient G (V, H) by
(mean of G^T G)^(-1/2) from the right: all directions move at a similar speed, and every step stays in the column space
of G.

The elements of a step, except SGD's, are of the learning rate's size.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from trainables.fused.matmul import product

MOMENTUM = 0.9  # of the mean gradient; Kingma and Ba 2015
ADAM_DECAY, ADAM_EPSILON = 0.999, 1e-8  # of the mean square; Kingma and Ba 2015
GRAM_DECAY, GRAM_EPSILON = 0.98, 1e-8  # of the mean G^T G; least eigenvalue relative to the largest; ours
ROOT_EVERY = 4  # updates between two roots of the mean G^T G; ours
# A root taken at every update contains the gradient that it divides, which shortens the steps of directions that few
# windows have: at beta 0, J falls more slowly. In miniature (60 units, layers at half the decoder's rate, seeds 0 to 2)
# J after 40 epochs is 2.2 to 2.6 with a root at every fourth update, and 3.2 to 4.0 with one at each.


class SubspaceOptimizer:
    """Updates parameters in place.

    Args:
        name: one of ``config.OPTIMIZERS``.
        parameters: by name.
        preconditioned: names of the matrices (n, d) that ``shampoo`` updates by Shampoo; Adam updates all others.
    """

    def __init__(self, name: str, parameters: Mapping[str, Tensor], *, preconditioned: Collection[str] = ()) -> None:
        self.name, self.parameters = name, dict(parameters)
        self.num_updates = 0
        self.state: dict[str, dict[str, Tensor]] = {}
        """Kind of mean -> parameter's name -> value."""
        if name == "sgd":
            return
        matrices = {n: p for n, p in self.parameters.items() if name == "shampoo" and n in preconditioned}
        others = {n: p for n, p in self.parameters.items() if n not in matrices}
        self.state["gradient"] = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.state["square"] = {n: torch.zeros_like(p) for n, p in others.items()}
        self.state["gram"] = {n: p.new_zeros(p.shape[1], p.shape[1]) for n, p in matrices.items()}
        self.state["root"] = {n: p.new_zeros(p.shape[1], p.shape[1]) for n, p in matrices.items()}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], lrs: Mapping[str, float]) -> None:
        """One update.

        Args:
            gradients: clipped, by the parameter's name.
            lrs: learning rates, by the parameter's name.
        """
        self.num_updates += 1
        for name, parameter in self.parameters.items():
            gradient, lr = gradients[name], lrs[name]
            if self.name == "sgd":
                parameter.sub_(gradient, alpha=lr)
                continue
            mean = self.state["gradient"][name].lerp_(gradient, 1 - MOMENTUM)
            step = lr / (1 - MOMENTUM**self.num_updates)
            if name in self.state["gram"]:
                direction = product(mean, self._root(name, gradient))
                parameter.sub_(direction, alpha=step * gradient.shape[0] ** 0.5)
            else:
                square = self.state["square"][name].mul_(ADAM_DECAY)
                square.addcmul_(gradient, gradient, value=1 - ADAM_DECAY)
                scale = (square / (1 - ADAM_DECAY**self.num_updates)).sqrt_().add_(ADAM_EPSILON)
                parameter.addcdiv_(mean, scale, value=-step)

    def _root(self, name: str, gradient: Tensor) -> Tensor:
        """(mean of G^T G)^(-1/2)."""
        gram, root = self.state["gram"][name], self.state["root"][name]
        gram.lerp_(product(gradient.t(), gradient), 1 - GRAM_DECAY)
        if self.num_updates <= ROOT_EVERY or self.num_updates % ROOT_EVERY == 0:
            values, vectors = torch.linalg.eigh(gram.double() / (1 - GRAM_DECAY**self.num_updates))
            values = values.clamp_min(GRAM_EPSILON * float(values[-1])).clamp_min_(torch.finfo(torch.float64).tiny)
            root.copy_((vectors * values.rsqrt()) @ vectors.t())
        return root
