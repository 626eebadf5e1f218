"""Turns a window's scores into its losses and their gradient, in place.

The gradient with respect to the scores a = W h is

    dJ_tot / da = y - y* + gamma (y-hat - y-tilde)          (eq. 2.4 and 3.4; alpha / tau = gamma)

y-tilde depends on the target word alone, so it is computed once for each *distinct* target u of the window. With
g_u = E E[u], n_u the number of tokens whose target is u, and s_u the sum of their hidden states,

    sum_t J_aug = sum_u n_u (<y-tilde_u, g_u> / tau - logsumexp(g_u / tau)) - sum_u <y-tilde_u, W s_u> / tau
                  + sum_t logsumexp(a_t / tau)
    d(alpha sum_t J_aug) / dg_u = gamma y-tilde_u * (R_u - <y-tilde_u, R_u>)              (target_gradient "flow")
    R_u = (n_u g_u - W s_u) / tau

W s_u is the sum of the scores of u's tokens: one product over the U distinct targets, instead of a sum of N rows of
scores. A row's logsumexp is max z - log max softmax(z), which is exact however unlikely the target is.

Passes over rows of V words, apart from the products: two softmaxes, two maxima, the difference of their results and the
target's row of y-tilde read N rows; the softmax of g_u, and with "flow" R_u, its mean under y-tilde and the gradient
read U rows. Without the augmented loss, one softmax and one maximum of N rows remain. On a GPU no row of y-tilde is
gathered: products over the distinct targets give its part of the gradients (``TargetDistributions.finish``).

Shapes: K trials side by side, n rows (tokens), V words, H units, U distinct targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.fused.matmul import Memory, add_outer, add_rows, gather_rows, product, sum_rows, wide_product

ELEMENTS_PER_BLOCK = 400_000
"""Scores per block of softmaxes on a CPU: few enough to stay in the cache between passes, enough to make the cost of
the calls small (80,000 to all were measured)."""


@dataclass(frozen=True)
class AugmentedTerm:
    """Settings of the augmented loss, one value per trial."""

    tau: Tensor
    """(K, 1, 1)."""
    gamma: Tensor
    """(K, 1, 1), alpha / tau."""
    flow: Tensor | None
    """(K, 1, 1), 1 for trials with gradient through y-tilde, else 0; None if no trial has it."""
    plain: Tensor | None = None
    """(K, 1, 1), weight of J in the gradient; None for 1."""


def rows_per_block(num_rows: int, vocab_size: int, device: torch.device) -> int:
    """Rows of a trial in a block of softmaxes: on a GPU all."""
    if device.type != "cpu":
        return num_rows
    return max(1, min(num_rows, ELEMENTS_PER_BLOCK // vocab_size))


class TargetDistributions:
    """y-tilde of a window's distinct targets, and its part of the loss and the gradients.

    Args:
        term: the settings.
        embedding: (K, V, H).
        wide_embedding: the same, rounded for products (``matmul.operand``).
        distinct: (K, U) ids of the distinct targets.
        index: (K, N), index of each token's target among them.
        memory: of the tables.
        gathered: whether ``scores_to_gradient`` reads each token's row of y-tilde; if not, ``finish`` adds its part of
            the gradients. None for True on a CPU, False on a GPU.
    """

    def __init__(
        self,
        term: AugmentedTerm,
        embedding: Tensor,
        wide_embedding: Tensor,
        distinct: Tensor,
        index: Tensor,
        memory: Memory,
        *,
        gathered: bool | None = None,
    ) -> None:
        k, v, _ = embedding.shape
        u = distinct.shape[1]
        self.term, self._embedding, self._distinct, self._memory = term, wide_embedding, distinct, memory
        self.gathered = embedding.device.type == "cpu" if gathered is None else gathered
        self._token_index = index
        self.index = index + torch.arange(k, device=index.device).unsqueeze(1) * u  # into the tables as (K U, V)
        self._words = gather_rows(embedding, distinct)
        self._scaled = wide_product(self._words / term.tau, wide_embedding.transpose(1, 2), memory, "target scores")
        self.target = memory.take("target", (k, u, v), embedding.dtype)
        """(K, U, V), y-tilde."""
        largest = []
        for (scaled,), target in zip(self._widened(self._scaled), self._blocks(self.target), strict=True):
            torch.softmax(scaled, -1, out=target)
            largest.append(scaled.amax(-1))
        self._log_partition = torch.cat(largest).view(k, u) - self.target.amax(-1).log_()

    def finish(
        self, hidden: Tensor, d_hidden: Tensor, decoder: Tensor, d_decoder: Tensor, d_embedding: Tensor | None
    ) -> Tensor:
        """Adds the distinct targets' part of the gradients, after ``scores_to_gradient`` of every token.

        Args:
            hidden: (K, N, H), the dropped hidden states.
            d_hidden: (K, N, H); y-tilde's part is added if it was not gathered.
            decoder: (K, V, H), W, rounded for products.
            d_decoder: (K, V, H); y-tilde's part is added if it was not gathered.
            d_embedding: (K, V, H), to which the gradient through y-tilde is added; None without that gradient.

        Returns:
            (K,), the sum of J_aug over the tokens less that of logsumexp(a / tau).
        """
        k, u, v = self.target.shape
        index, tau, gamma = self._token_index, self.term.tau, self.term.gamma
        sums = sum_rows(hidden, index, u)
        counts = sum_rows(hidden.new_ones(k, index.shape[1], 1), index, u).squeeze(-1)
        loss = -(counts * self._log_partition)
        if not self.gathered or self.term.flow is None:
            mean_words = product(self.target, decoder)  # W^T y-tilde, (K, U, H)
        if not self.gathered:
            d_hidden -= gather_rows(mean_words, index) * gamma
            add_outer(d_decoder, self.target, sums * -gamma, overwrite=False, memory=self._memory)
        if self.term.flow is None:
            loss += counts * self._target_means() - (mean_words * sums).sum(-1) / tau.squeeze(-1)
        else:
            assert d_embedding is not None
            summed = wide_product(sums / tau, decoder.transpose(1, 2), self._memory, "summed scores")
            loss += self._flow(summed, counts)
            scale = gamma * self.term.flow
            add_outer(d_embedding, self._scaled, self._words * scale, overwrite=False, memory=self._memory)
            add_rows(d_embedding, self._distinct, product(self._scaled, self._embedding).mul_(scale))
        return loss.sum(-1)

    def _target_means(self) -> Tensor:
        """<y-tilde_u, g_u> / tau, (K, U)."""
        pairs = zip(self._blocks(self.target), self._widened(self._scaled), strict=True)
        return torch.cat([(target * scaled).sum(-1) for target, (scaled,) in pairs]).view(self.target.shape[:2])

    def _flow(self, summed: Tensor, counts: Tensor) -> Tensor:
        """Overwrites g_u / tau by y-tilde_u * (R_u - <y-tilde_u, R_u>).

        Args:
            summed: (K, U, V), W s_u / tau.
            counts: (K, U), n_u.

        Returns:
            <y-tilde_u, R_u>, (K, U).
        """
        means = []
        for target, given, count, (residual, sums) in zip(
            self._blocks(self.target), self._blocks(self._scaled), self._blocks(counts.unsqueeze(-1)),
            self._widened(self._scaled, summed), strict=True,
        ):  # fmt: skip
            residual.mul_(count).sub_(sums)
            means.append(torch.mul(target, residual, out=sums).sum(-1, keepdim=True))
            given.copy_(residual.sub_(means[-1]).mul_(target))
        return torch.cat(means).view(counts.shape)

    def _widened(self, *tables: Tensor) -> Iterator[list[Tensor]]:
        """The blocks of tables (K, U, V), copied to y-tilde's dtype if theirs is narrower."""
        dtype = self.target.dtype
        blocks = [self._blocks(table) for table in tables]
        narrow = tables[0].dtype != dtype
        scratch = self._memory.take("scratch", (len(tables), blocks[0][0].numel()), dtype) if narrow else None
        for each in zip(*blocks, strict=True):
            if scratch is None:
                yield list(each)
            else:
                yield [m[: x.numel()].view(x.shape).copy_(x) for m, x in zip(scratch, each, strict=True)]

    def _blocks(self, table: Tensor) -> tuple[Tensor, ...]:
        """(K, U, n) as rows (K U, n), in blocks that fit the cache."""
        k, u, v = self.target.shape
        return table.reshape(k * u, -1).split(rows_per_block(k * u, v, self.target.device))


def scores_to_gradient(
    scores: Tensor,
    words: Tensor,
    *,
    memory: Memory,
    weight_dtype: torch.dtype,
    bias: Tensor | None = None,
    d_bias: Tensor | None = None,
    targets: TargetDistributions | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Overwrites scores with the gradient of the losses' sum.

    Args:
        scores: (K, n, V), contiguous, a = W h; on a CPU bf16 if operands are rounded.
        words: (K, n) the targets' ids.
        memory: of intermediate results.
        weight_dtype: of softmaxes, sums and intermediate results.
        bias: (K, V), b of eq. 2.3.
        d_bias: (K, V), to which the bias's gradient is added.
        targets: of the augmented loss; None for the cross-entropy alone.
        rows: (K, n), the tokens' rows of ``targets``' tables.

    Returns:
        The sums over the rows of J and, with the augmented loss, of logsumexp(a / tau), each (K,).
    """
    k, n, v = scores.shape
    block = rows_per_block(n, v, scores.device)
    narrow = scores.dtype != weight_dtype
    scratch = memory.take("scratch", (2 + narrow, k * block * v), weight_dtype)
    cross_entropies, log_sums = [], []
    for start in range(0, n, block):
        given = scores[:, start : start + block]
        column = words[:, start : start + block].unsqueeze(-1)
        y, scaled, *widened = (s[: given.numel()].view(given.shape) for s in scratch)
        z = widened[0].copy_(given) if narrow else given
        if targets is not None:
            torch.mul(z, 1 / targets.term.tau, out=scaled)
        if bias is not None:
            z.add_(bias.unsqueeze(1))
        torch.softmax(z, -1, out=y)
        log_partition = z.amax(-1) - y.amax(-1).log_()
        cross_entropies.append(log_partition - z.gather(-1, column).squeeze(-1))
        y.scatter_add_(-1, column, y.new_full((), -1.0).expand(column.shape))
        if targets is not None and targets.term.plain is not None:
            y.mul_(targets.term.plain)
        if d_bias is not None:
            d_bias.add_(y.sum(1))  # before the augmented loss is added: y-hat has no bias (eq. 3.1)
        if targets is None:
            given.copy_(y)
            continue
        y_hat = torch.softmax(scaled, -1, out=z)
        log_sums.append(scaled.amax(-1) - y_hat.amax(-1).log_())
        if targets.gathered:
            assert rows is not None
            torch.index_select(
                targets.target.view(-1, v), 0, rows[:, start : start + block].reshape(-1), out=scaled.view(-1, v)
            )
            y_hat.sub_(scaled)
        given.copy_(y.addcmul_(y_hat, targets.term.gamma))
    return torch.cat(cross_entropies, 1).sum(-1), torch.cat(log_sums, 1).sum(-1) if log_sums else None
