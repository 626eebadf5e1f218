"""One training step of section 6.2's experiment: the gradients of loss (6.1), clipping, the update.

    J_tot = beta tau^2 |V| J_aug + (1 - beta) J                                                          (eq. 6.1)
    dJ_tot / da = beta tau |V| (y-hat - y-tilde),   plus (1 - beta) (y - y*) through the biased scores a + b

The gradients are those of ``WindowStep`` with gamma = beta tau |V| and 1 - beta as the weight of J, without masks.
After each step the word vectors are scaled back to norm 1.

J_aug is measured separately, in float64. With g = E E[y] and y-tilde = softmax(g / tau), that of one token is

    J_aug = (<y-tilde, g / tau> - logsumexp(g / tau)) - (<y-tilde, a / tau> - logsumexp(a / tau))

a difference of numbers near log V = 9.2, where neighbouring float32 numbers are 1e-6 apart. J_aug is 1.1e-6 for the
first weights of Figure 1's seed 0 at tau 40, and less later. So exponentials are float32, and their sums, logarithms
and differences float64: that agrees with a window in float64 to one part in 8,000.

Shapes: T steps, B streams, N = T B tokens, H units, V words, U distinct targets of a window, L layers; a leading axis
of one stands for the trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.figure1.config import SubspaceConfig
from trainables.figure1.optimizer import SubspaceOptimizer
from trainables.fused.head import TOKENS_PER_CHUNK
from trainables.fused.matmul import norms, product, sum_rows
from trainables.fused.scores import AugmentedTerm
from trainables.fused.single import State
from trainables.fused.step import WindowStep, make_window
from trainables.fused.weights import StackWeights
from trainables.models.base import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The measures of one window."""

    cross_entropy: Tensor
    """Sum of J over the tokens, a scalar."""
    augmented: Tensor
    """Sum of J_aug over the tokens, a float64 scalar."""
    hidden: Tensor
    """(N, H), the decoder's inputs; overwritten by the next window."""
    target_vectors: Tensor
    """(N, H), E[y] of the same tokens."""


class SubspaceStep(WindowStep):
    """The training step of one run.

    Args:
        model: untied; its parameters are updated in place, and must not be replaced.
        config: the loss, the clipping, the batch.
    """

    def __init__(self, model: LanguageModel, config: SubspaceConfig) -> None:
        self.config = config
        weights = StackWeights.of(model)
        one = weights.embedding.new_ones(1, 1, 1)
        term = AugmentedTerm(
            tau=one * config.tau,
            gamma=one * (config.beta * config.tau * weights.embedding.shape[1]),
            flow=one if config.target_gradient == "flow" and config.beta > 0 else None,
            plain=one * (1 - config.beta),
        )
        super().__init__(
            weights, config.batch_size, config.bptt, augmented=term, input_dropout=False, sparse_embedding=False
        )
        self.optimizer = SubspaceOptimizer(config.optimizer, weights.trial(0), preconditioned=["decoder_weight"])

    def zero_state(self) -> State:
        """The state at an epoch's start."""
        hidden, cell = self.weights.zero_state(self.config.batch_size)
        return hidden.squeeze(1), cell.squeeze(1)

    @torch.no_grad()
    def measure(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Measures, State]:
        """Computes a window's gradients, summed over the streams (``WindowStep.gradients``), and its measures.

        Args:
            inputs: (T, B) token ids on the CPU.
            targets: (T, B) token ids on the CPU.
            state: (hidden, cell), each (L, B, H), carried in.

        Returns:
            The measures of the window, and the state to carry on.
        """
        embedding, decoder = self.weights.embedding, self.weights.decoder.decoder
        window = make_window(inputs, targets, augmented=True, sparse=False, device=embedding.device)
        assert window.distinct_targets is not None
        (cross_entropy,), _, carried = self.gradients(window, None, (state[0].unsqueeze(1), state[1].unsqueeze(1)))
        hidden = self.buffers[-1].output.reshape(inputs.numel(), -1)
        distinct, row = (x.unsqueeze(0) for x in window.distinct_targets)
        augmented = augmented_sum(
            hidden, distinct, row, embedding=embedding[0], decoder=decoder[0], tau=self.config.tau
        )
        measures = Measures(
            cross_entropy=cross_entropy,
            augmented=augmented,
            hidden=hidden,
            target_vectors=embedding[0].index_select(0, window.targets),
        )
        return measures, (carried[0].squeeze(1), carried[1].squeeze(1))

    @torch.no_grad()
    def clip(self) -> Tensor:
        """Averages the gradients over the streams and clips them by their global norm.

        Returns:
            The norm before clipping, a scalar tensor.
        """
        norm = norms(torch.stack([norms(g) for g in self.d_weights.named.values()], 1)) / self.config.batch_size
        scale = (self.config.max_grad_norm / norm).clamp_(max=1.0).div_(self.config.batch_size)
        for gradient in self.d_weights.named.values():
            gradient.mul_(scale)
        return norm[0]

    @torch.no_grad()
    def update(self, lr: float) -> None:
        """Updates the weights from the clipped gradients and scales the word vectors back to norm 1."""
        config = self.config
        layers, embedding = lr * config.layer_lr_share, lr * config.embedding_lr_share * lr / config.lr
        lrs = {
            name: lr if name.startswith("decoder") else embedding if name == "embedding" else layers
            for name in self.weights.named
        }
        self.optimizer.step(self.d_weights.trial(0), lrs)
        normalise_rows(self.weights.embedding[0])

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients of the last window by the parameter's name, summed over the streams, clipped after ``clip`` (for
        tests).
        """
        return self.d_weights.trial(0)


@torch.no_grad()
def normalise_rows(embedding: Tensor) -> None:
    """Gives each word vector (V, H) norm 1 (section 6.2), in place."""
    embedding.div_(
        torch.linalg.vector_norm(embedding, dim=1, keepdim=True).clamp_min_(torch.finfo(embedding.dtype).tiny)
    )


@torch.no_grad()
def augmented_sum(
    hidden: Tensor, distinct: Tensor, row: Tensor, *, embedding: Tensor, decoder: Tensor, tau: float
) -> Tensor:
    """The sum of J_aug over a window's tokens, a float64 scalar.

    With n_u tokens of the distinct target u, whose hidden states sum to s_u,

        sum_u (n_u (<y-tilde_u, g_u / tau> - logsumexp(g_u / tau)) - <y-tilde_u, W s_u / tau>)
        + sum_t logsumexp(a_t / tau)

    Args:
        hidden: (N, H).
        distinct: (1, U) ids of the distinct targets.
        row: (1, N), index of each token's target among them.
        embedding: (V, H), E.
        decoder: (V, H), W.
        tau: the temperature.
    """
    num_distinct = distinct.shape[1]
    counts = torch.bincount(row[0], minlength=num_distinct).double()
    sums = sum_rows(hidden.unsqueeze(0), row, num_distinct)[0]
    own = product(embedding.index_select(0, distinct[0]) / tau, embedding.t())
    target = torch.softmax(own, -1)
    total = (counts * (_dot(target, own) - _logsumexp(own))).sum()
    total -= _dot(target, product(sums / tau, decoder.t())).sum()
    for states in hidden.split(TOKENS_PER_CHUNK):
        total += _logsumexp(product(states / tau, decoder.t())).sum()
    return total


def _logsumexp(x: Tensor) -> Tensor:
    """logsumexp over the last axis (n, V) -> (n,): exponentials in x's precision, their sum and its log in float64."""
    top = x.amax(-1, keepdim=True)
    return (top + (x - top).exp_().sum(-1, keepdim=True, dtype=torch.float64).log()).squeeze(-1)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of the rows of x and y, (n, V) each -> (n,), summed in float64."""
    return (x * y).sum(-1, dtype=torch.float64)
