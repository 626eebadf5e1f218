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

from trainables.products import add_outer, operand, product
from trainables.scores import AugmentedTerm, TargetDistributions, scores_to_gradient

TOKENS_PER_CHUNK = 350
"""Half a window's scores stand at once; fewer make the products slower, more make them no faster."""


def use_compaction(hidden_size: int, drop_prob: float, device: torch.device | str) -> bool:
    """Whether the compacted head is the faster one; never on a GPU, where its indices would have to be waited for.

    Measured on one core at PTB's vocabulary, compacted against dense, cross-entropy alone: at 200 units 1.09 times the
    time at drop .5 and .86 at .65; at 650 units 1.14 at .4, .93 at .5 and .75 at .65.
    """
    return torch.device(device).type == "cpu" and drop_prob >= (0.5 if hidden_size >= 400 else 0.6)


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
        self._target_memory = (like.new_empty(0), like.new_empty(0))
        if compact:
            self._kept_weights = like.new_empty(hidden_size, vocab_size)

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
        table = self._table(targets, weights)
        if self.compact:
            cross_entropy, log_sums = self._compact(hidden, kept, targets.words, table, weights, gradients)
        else:
            flat = hidden.reshape(k, t * b, h)
            cross_entropy, log_sums = self._dense(flat, targets.words, table, weights, gradients)
        if table is None:
            return cross_entropy, torch.zeros_like(cross_entropy)
        return cross_entropy, table.finish(log_sums, gradients.embedding)

    def _table(self, targets: Targets, weights: DecoderWeights) -> TargetDistributions | None:
        if self.augmented is None:
            return None
        assert targets.distinct is not None
        assert targets.index is not None
        assert weights.embedding is not None
        k, distinct = targets.distinct.shape
        size = k * distinct * self.shape[-1]
        if self._target_memory[0].numel() < size:  # an eighth more than asked for: the next windows may need it
            self._target_memory = (
                weights.embedding.new_empty(size + size // 8),
                weights.embedding.new_empty(size + size // 8),
            )
        return TargetDistributions(
            self.augmented, weights.embedding, targets.distinct, targets.index, self._target_memory
        )

    def _dense(
        self,
        hidden: Tensor,
        words: Tensor,
        table: TargetDistributions | None,
        weights: DecoderWeights,
        gradients: DecoderWeights,
    ) -> tuple[Tensor, Tensor]:
        k, n, _ = hidden.shape
        cross_entropy, log_sums = hidden.new_zeros(k), hidden.new_zeros(k)
        decoder = operand(weights.decoder)
        for start in range(0, n, self.tokens_per_chunk):
            tokens = slice(start, min(start + self.tokens_per_chunk, n))
            scores = product(hidden[:, tokens], decoder.transpose(1, 2))
            rows = None if table is None else table.index[:, tokens]
            ce, lse = scores_to_gradient(
                scores, words[:, tokens], bias=weights.bias, d_bias=gradients.bias, targets=table, rows=rows
            )
            cross_entropy += ce
            if lse is not None:
                log_sums += lse
            self.d_hidden[:, tokens] = product(scores, decoder)
            add_outer(gradients.decoder, scores, hidden[:, tokens], overwrite=start == 0)
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
        cross_entropy, log_sums = hidden.new_zeros(k), hidden.new_zeros(k)
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
                kept_weights = torch.index_select(by_unit, 0, units, out=self._kept_weights[: units.numel()])
                states = hidden[trial, :, stream].index_select(1, units)
                scores = product(states, kept_weights)
                rows = None if index is None else index[:, :, stream]
                ce, lse = scores_to_gradient(
                    scores.unsqueeze(0), words[one, :, stream], bias=bias, d_bias=d_bias, targets=table, rows=rows,
                    trials=one,
                )  # fmt: skip
                cross_entropy[one] += ce
                if lse is not None:
                    log_sums[one] += lse
                d_hidden[trial, :, stream].index_copy_(1, units, product(scores, kept_weights.t()))
                d_by_unit.index_add_(0, units, product(states.t(), scores))
        return cross_entropy, log_sums
