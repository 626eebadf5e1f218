"""Decoder, softmaxes and losses of a window in one go: values and gradients, without autograd.

Scores stand for a chunk of tokens at a time and turn into their gradient where they stand (``scores.py``).

A stream's mask is constant over its window, so its products need only the units that it keeps (``compact``): exact,
less arithmetic, but smaller and slower matrix products, and rows to gather and scatter.

Shapes: K trials side by side, T steps, B streams, N = T B tokens, H units, V words, U distinct targets. Compaction
takes the trials one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.fused.matmul import Memory, add_outer, operand, operand_dtype, product, wide_product
from trainables.fused.scores import AugmentedTerm, TargetDistributions, scores_to_gradient

TOKENS_PER_CHUNK = 350
"""Half a window's float32 scores stand at once; fewer make the products slower, more make them no faster. Of bf16
scores, half the size, all of a window's do: the decoder's gradient is then one product."""


def use_compaction(hidden_size: int, drop_prob: float, device: torch.device | str) -> bool:
    """Whether the compacted head is the faster one: in fp32 on a CPU, if enough units are dropped.

    On a GPU its indices would have to be waited for; in bf16 there is less to save.

    Measured on one core at PTB's vocabulary, compacted against dense, cross-entropy alone: at 200 units 1.09 times the
    time at drop .5 and .86 at .65; at 650 units 1.14 at .4, .93 at .5 and .75 at .65.
    """
    if torch.device(device).type != "cpu" or operand_dtype() is not None:
        return False
    return drop_prob >= (0.5 if hidden_size >= 400 else 0.6)


@dataclass(frozen=True)
class Targets:
    """A window's targets; the distinct ones are needed with the augmented loss only."""

    words: Tensor
    """(K, N) token ids."""
    distinct: Tensor | None = None
    """(K, U) ids; a trial with fewer than the others repeats one."""
    index: Tensor | None = None
    """(K, N), which of a trial's distinct targets each token has."""


@dataclass(frozen=True)
class DecoderWeights:
    """The matrices of the head, or their gradients; unit-major memory (H, V) is what compaction needs."""

    decoder: Tensor
    """(K, V, H)."""
    bias: Tensor | None
    """(K, V); None when tied."""
    embedding: Tensor | None
    """(K, V, H), E of the target distribution; tied, the very tensor ``decoder``. None among the gradients when
    nothing flows into it."""


class Head:
    """The head's settings, buffers and its one method.

    Args:
        num_trials: K.
        num_steps: T.
        batch_size: B.
        augmented: the augmented loss's settings, or None for the cross-entropy alone.
        compact: whether to compact; CPU only.
        like: a weight (V, H), for the sizes, dtype and device.
        tokens_per_chunk: tokens whose scores stand at once in the dense head; None for the measured number.
    """

    def __init__(
        self,
        num_trials: int,
        num_steps: int,
        batch_size: int,
        *,
        augmented: AugmentedTerm | None,
        compact: bool,
        like: Tensor,
        tokens_per_chunk: int | None = None,
    ) -> None:
        vocab_size, hidden_size = like.shape
        self.shape = (num_trials, num_steps, batch_size, hidden_size, vocab_size)
        self.augmented, self.compact = augmented, compact
        self.tokens_per_chunk = TOKENS_PER_CHUNK if tokens_per_chunk is None else tokens_per_chunk
        self.d_hidden = like.new_zeros(num_trials, num_steps * batch_size, hidden_size)
        self.dtype = like.dtype
        self._memory = Memory(like.device)

    def __call__(
        self, hidden: Tensor, kept: Tensor, targets: Targets, weights: DecoderWeights, gradients: DecoderWeights
    ) -> tuple[Tensor, Tensor]:
        """Losses of a window and all of the head's gradients, of the losses' *sum* over the window's tokens.

        Args:
            hidden: (K, T, B, H), the dropped hidden states.
            kept: (K, B, H) booleans on the CPU, the units that the mask keeps; read by the compacted head only.
            targets: of the window.
            weights: the matrices.
            gradients: overwritten; tied, the embedding's and the decoder's are one tensor. ``d_hidden`` (K, N, H) is
                overwritten too; compacted, it is left zero where the mask is zero.

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
        if self.compact:
            cross_entropy, log_sums = self._compact(hidden, kept, targets.words, table, weights, gradients)
        else:
            cross_entropy, log_sums = self._dense(flat, targets.words, table, weights.bias, decoder, gradients)
        if table is None:
            return cross_entropy, torch.zeros_like(cross_entropy)
        augmented = table.finish(flat, self.d_hidden, decoder, gradients.decoder, gradients.embedding)
        return cross_entropy, augmented + log_sums

    def _rounded(self, name: str, matrix: Tensor) -> Tensor:
        """A matrix (K, V, H) as products take it, in its own memory order."""
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
            self.augmented, weights.embedding, embedding, targets.distinct, targets.index, self._memory,
            gathered=True if self.compact else None,
        )  # fmt: skip

    def _dense(
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
        at_once = self.tokens_per_chunk * self.d_hidden.element_size() // decoder.element_size()
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

    def _compact(
        self,
        hidden: Tensor,
        kept: Tensor,
        words: Tensor,
        table: TargetDistributions | None,
        weights: DecoderWeights,
        gradients: DecoderWeights,
    ) -> tuple[Tensor, Tensor]:
        k, t, b, h, _ = self.shape
        cross_entropy, log_sums = self.d_hidden.new_zeros(k), self.d_hidden.new_zeros(k)
        d_hidden = self.d_hidden.view(k, t, b, h).zero_()
        gradients.decoder.zero_()
        words = words.view(k, t, b)
        for trial in range(k):
            one = slice(trial, trial + 1)
            by_unit, d_by_unit = weights.decoder[trial].t(), gradients.decoder[trial].t()
            bias = None if weights.bias is None else weights.bias[one]
            d_bias = None if gradients.bias is None else gradients.bias[one]
            index = None if table is None else table.index.view(k, t, b)[one]
            for stream in range(b):
                units = kept[trial, stream].nonzero().view(-1)
                kept_weights = self._memory.take("kept weights", (units.numel(), by_unit.shape[1]), by_unit.dtype)
                torch.index_select(by_unit, 0, units, out=kept_weights)
                states = hidden[trial, :, stream].index_select(1, units)
                scores = product(states, kept_weights)
                rows = None if index is None else index[:, :, stream]
                ce, lse = scores_to_gradient(
                    scores.unsqueeze(0), words[one, :, stream], memory=self._memory, weight_dtype=self.dtype, bias=bias,
                    d_bias=d_bias, targets=table, rows=rows, trials=one,
                )  # fmt: skip
                cross_entropy[one] += ce
                if lse is not None:
                    log_sums[one] += lse
                d_hidden[trial, :, stream].index_copy_(1, units, product(scores, kept_weights.t()))
                d_by_unit.index_add_(0, units, product(states.t(), scores))
        return cross_entropy, log_sums
