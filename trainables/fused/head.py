"""Computes decoder, softmaxes and losses of a window, values and gradients, without autograd.

Scores are computed for a chunk of tokens at a time and overwritten by their gradient (``scores.py``).

Shapes: K trials side by side, T steps, B streams, N = T B tokens, H units, V words, U distinct targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.fused.matmul import Memory, add_outer, operand, operand_dtype, product, wide_product
from trainables.fused.scores import AugmentedTerm, TargetDistributions, scores_to_gradient

TOKENS_PER_CHUNK = 350
"""Tokens whose float32 scores are in memory at once, half a window: fewer make the products slower, more no faster. Of
bf16 scores, half the size, a whole window is: the decoder's gradient is then one product."""


@dataclass(frozen=True)
class Targets:
    """A window's targets; the distinct ones are needed with the augmented loss only."""

    words: Tensor
    """(K, N) token ids."""
    distinct: Tensor | None = None
    """(K, U) ids; a trial with fewer than the others repeats one."""
    index: Tensor | None = None
    """(K, N), index of each token's target among the trial's distinct ones."""


@dataclass(frozen=True)
class DecoderWeights:
    """The matrices of the head, or their gradients."""

    decoder: Tensor
    """(K, V, H)."""
    bias: Tensor | None
    """(K, V); None when tied."""
    embedding: Tensor | None
    """(K, V, H), E of the target distribution; tied, the same tensor as ``decoder``. Among the gradients, None if it
    gets none."""


class Head:
    """Computes the head's losses and gradients.

    Args:
        num_trials: K.
        num_steps: T.
        batch_size: B.
        augmented: the augmented loss's settings, or None for the cross-entropy alone.
        like: a weight (V, H), for the sizes, dtype and device.
    """

    def __init__(
        self,
        num_trials: int,
        num_steps: int,
        batch_size: int,
        *,
        augmented: AugmentedTerm | None,
        like: Tensor,
    ) -> None:
        vocab_size, hidden_size = like.shape
        self.shape = (num_trials, num_steps, batch_size, hidden_size, vocab_size)
        self.augmented = augmented
        self.d_hidden = like.new_zeros(num_trials, num_steps * batch_size, hidden_size)
        self.dtype = like.dtype
        self._memory = Memory(like.device)

    def __call__(
        self, hidden: Tensor, targets: Targets, weights: DecoderWeights, gradients: DecoderWeights
    ) -> tuple[Tensor, Tensor]:
        """Losses of a window and all of the head's gradients, of the losses' *sum* over the window's tokens.

        Args:
            hidden: (K, T, B, H), the dropped hidden states.
            targets: of the window.
            weights: the matrices.
            gradients: overwritten, and so is ``d_hidden`` (K, N, H); tied, the embedding's and the decoder's are one
                tensor.

        Returns:
            Sums over the tokens of J and of J_aug, each (K,).
        """
        k, t, b, h, _ = self.shape
        if gradients.bias is not None:
            gradients.bias.zero_()
        if gradients.embedding is not None and gradients.embedding is not gradients.decoder:
            gradients.embedding.zero_()
        decoder = self._rounded("decoder", weights.decoder)
        table = self._table(targets, weights, decoder)
        flat = hidden.reshape(k, t * b, h)
        cross_entropy, log_sums = self._chunks(flat, targets.words, table, weights.bias, decoder, gradients)
        if table is None:
            return cross_entropy, torch.zeros_like(cross_entropy)
        augmented = table.finish(flat, self.d_hidden, decoder, gradients.decoder, gradients.embedding)
        return cross_entropy, augmented + log_sums

    def _rounded(self, name: str, matrix: Tensor) -> Tensor:
        """Rounds a matrix (K, V, H) for products (``matmul.operand``), in its own memory order."""
        dtype = operand_dtype()
        if dtype is None or matrix.dtype != torch.float32:
            return matrix
        transposed = matrix.stride(1) == 1
        shape = matrix.transpose(1, 2).shape if transposed else matrix.shape
        memory = self._memory.take(name, tuple(shape), dtype)
        return operand(matrix, memory.transpose(1, 2) if transposed else memory)

    def _table(self, targets: Targets, weights: DecoderWeights, decoder: Tensor) -> TargetDistributions | None:
        if self.augmented is None:
            return None
        assert targets.distinct is not None
        assert targets.index is not None
        assert weights.embedding is not None
        embedding = decoder if weights.embedding is weights.decoder else self._rounded("embedding", weights.embedding)
        return TargetDistributions(
            self.augmented, weights.embedding, embedding, targets.distinct, targets.index, self._memory
        )

    def _chunks(
        self,
        hidden: Tensor,
        words: Tensor,
        table: TargetDistributions | None,
        bias: Tensor | None,
        decoder: Tensor,
        gradients: DecoderWeights,
    ) -> tuple[Tensor, Tensor]:
        k, n, _ = hidden.shape
        cross_entropy, log_sums = self.d_hidden.new_zeros(k), self.d_hidden.new_zeros(k)
        at_once = TOKENS_PER_CHUNK * self.d_hidden.element_size() // decoder.element_size()
        for start in range(0, n, at_once):
            tokens = slice(start, min(start + at_once, n))
            scores = wide_product(hidden[:, tokens], decoder.transpose(1, 2), self._memory, "scores")
            rows = None if table is None else table.index[:, tokens]
            ce, lse = scores_to_gradient(
                scores, words[:, tokens], memory=self._memory, weight_dtype=self.dtype, bias=bias,
                d_bias=gradients.bias, targets=table, rows=rows,
            )  # fmt: skip
            cross_entropy += ce
            if lse is not None:
                log_sums += lse
            self.d_hidden[:, tokens] = product(scores, decoder)
            add_outer(gradients.decoder, scores, hidden[:, tokens], overwrite=start == 0, memory=self._memory)
        return cross_entropy, log_sums
