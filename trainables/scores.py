"""From a window's scores to its losses and their gradient, in place.

The gradient with respect to the scores a = W h is

    dJ_tot / da = y - y* + gamma (y-hat - y-tilde)          (eq. 2.4 and 3.4; alpha / tau = gamma)

y-tilde depends on the target word alone, so it is computed once for each *distinct* target u of the window, and so is
its gradient. With g_u = E E[u], n_u the tokens whose target is u, and R_u = n_u g_u / tau - sum of their a_t / tau,

    sum_t J_aug = sum_u (<y-tilde_u, R_u> - n_u logsumexp(g_u / tau)) + sum_t logsumexp(a_t / tau)
    d(alpha sum_t J_aug) / dg_u = gamma y-tilde_u * (R_u - <y-tilde_u, R_u>)              (target_gradient "flow")

so one accumulation of R serves the loss and the gradient. A row's logsumexp is had from its maximum z, as
max z - log max softmax(z): exact however unlikely the target is.

Shapes: K trials side by side, n rows (tokens), V words, H units, U distinct targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.products import add_outer, add_rows, gather_rows, product

ELEMENTS_PER_BLOCK = 400_000
"""Scores that go through the softmaxes at once on a CPU: small enough to
stay in the cache from one pass to the next, large enough for the calls not to count (80,000 to all measured)."""


@dataclass(frozen=True)
class AugmentedTerm:
    """Settings of the augmented loss, one value per trial."""

    tau: Tensor
    """(K, 1, 1)."""
    gamma: Tensor
    """(K, 1, 1), alpha / tau."""
    flow: Tensor | None
    """(K, 1, 1), 1 where gradient passes through y-tilde and 0 where not; None if it does nowhere."""


def rows_per_block(num_rows: int, vocab_size: int, device: torch.device) -> int:
    """Rows of a trial that are worked on at once: on a GPU all."""
    if device.type != "cpu":
        return num_rows
    return max(1, min(num_rows, ELEMENTS_PER_BLOCK // vocab_size))


class TargetDistributions:
    """y-tilde of a window's distinct targets, and what the loss and the gradient through it need.

    Args:
        term: the settings.
        embedding: (K, V, H).
        distinct: (K, U) ids of the distinct targets.
        index: (K, N), which of them each token has.
        memory: two buffers of at least K U V elements each.
    """

    def __init__(
        self, term: AugmentedTerm, embedding: Tensor, distinct: Tensor, index: Tensor, memory: tuple[Tensor, Tensor]
    ) -> None:
        k, v, _ = embedding.shape
        u = distinct.shape[1]
        self.term, self.embedding, self.distinct = term, embedding, distinct
        self.index = index + torch.arange(k, device=index.device).unsqueeze(1) * u  # into the tables as (K U, V)
        self.words = gather_rows(embedding, distinct)
        scaled = product(self.words / term.tau, embedding.transpose(1, 2))
        self.target, self.residual = (m[: k * u * v].view(k, u, v) for m in memory)
        torch.softmax(scaled, -1, out=self.target)
        log_partition = scaled.amax(-1) - self.target.amax(-1).log_()
        counts = log_partition.new_zeros(k, u)
        counts.scatter_add_(1, index, counts.new_ones(()).expand(index.shape))
        torch.mul(scaled, counts.unsqueeze(-1), out=self.residual)
        self.log_sums = (counts * log_partition).sum(-1)

    def finish(self, log_sums: Tensor, d_embedding: Tensor | None) -> Tensor:
        """After every token has been through ``scores_to_gradient``.

        Args:
            log_sums: (K,), the sum over the tokens of logsumexp(a / tau).
            d_embedding: (K, V, H), to which the gradient through y-tilde is added; None if none flows.

        Returns:
            (K,), the sum of J_aug over the tokens.
        """
        k, u, v = self.target.shape
        rows = rows_per_block(k * u, v, self.target.device)
        means = []
        for target, residual in zip(
            self.target.view(k * u, v).split(rows), self.residual.view(k * u, v).split(rows), strict=True
        ):
            weighted = target * residual
            means.append(weighted.sum(-1, keepdim=True))
            if self.term.flow is not None:
                torch.addcmul(weighted, target, means[-1], value=-1, out=residual)  # (R - <y-tilde, R>) y-tilde
        if self.term.flow is not None:
            assert d_embedding is not None
            scale = self.term.gamma * self.term.flow
            add_outer(d_embedding, self.residual, self.words * scale, overwrite=False)
            add_rows(d_embedding, self.distinct, product(self.residual, self.embedding).mul_(scale))
        return log_sums - self.log_sums + torch.cat(means).view(k, u).sum(-1)


def scores_to_gradient(
    scores: Tensor,
    words: Tensor,
    *,
    bias: Tensor | None = None,
    d_bias: Tensor | None = None,
    targets: TargetDistributions | None = None,
    rows: Tensor | None = None,
    trials: slice = slice(None),
) -> tuple[Tensor, Tensor | None]:
    """Overwrites scores with the gradient of the losses' sum.

    Args:
        scores: (K, n, V), contiguous, a = W h.
        words: (K, n) the targets' ids.
        bias: (K, V), b of eq. 2.3.
        d_bias: (K, V), to which the bias's gradient is added.
        targets: of the augmented loss; None for the cross-entropy alone.
        rows: (K, n), the tokens' rows of ``targets``' tables.
        trials: which trials the scores belong to.

    Returns:
        The sums over the rows of J and, with the augmented loss, of logsumexp(a / tau), each (K,).
    """
    k, n, v = scores.shape
    block = rows_per_block(n, v, scores.device)
    scratch = [torch.empty((k, block, v), dtype=scores.dtype, device=scores.device) for _ in range(2)]
    cross_entropies, log_sums = [], []
    for start in range(0, n, block):
        z = scores[:, start : start + block]
        column = words[:, start : start + block].unsqueeze(-1)
        y, scaled = (s.view(-1)[: z.numel()].view(z.shape) for s in scratch)
        if targets is not None:
            assert rows is not None
            row = rows[:, start : start + block].reshape(-1)
            torch.mul(z, 1 / targets.term.tau[trials], out=scaled)
            targets.residual.view(-1, v).index_add_(0, row, scaled.view(-1, v), alpha=-1)
        if bias is not None:
            z.add_(bias.unsqueeze(1))
        torch.softmax(z, -1, out=y)
        log_partition = z.amax(-1) - y.amax(-1).log_()
        cross_entropies.append(log_partition - z.gather(-1, column).squeeze(-1))
        y.scatter_add_(-1, column, y.new_full((), -1.0).expand(column.shape))
        if d_bias is not None:
            d_bias.add_(y.sum(1))  # before the augmented loss comes in: y-hat has no bias (eq. 3.1)
        if targets is None:
            z.copy_(y)
            continue
        y_hat = torch.softmax(scaled, -1, out=z)
        log_sums.append(scaled.amax(-1) - y_hat.amax(-1).log_())
        torch.index_select(targets.target.view(-1, v), 0, row, out=scaled.view(-1, v))
        torch.addcmul(y, z.sub_(scaled), targets.term.gamma[trials], out=z)
    return torch.cat(cross_entropies, 1).sum(-1), torch.cat(log_sums, 1).sum(-1) if log_sums else None
