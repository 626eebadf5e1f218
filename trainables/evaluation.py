"""Cross-entropy of a text under a model, or a stack of them: dropout off, state carried, every token counted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.batching import IGNORED, evaluation_streams, windows
from trainables.layer import run_layers
from trainables.model import VDLSTM
from trainables.products import shared_rows
from trainables.stack_weights import StackWeights

TOKENS_PER_WINDOW = 700
"""Tokens read at once; the state is carried, so it decides speed and memory but not the result."""
LOGITS_PER_CHUNK = 8_000_000
"""Logits that stand at once."""


def nats_per_token(model: VDLSTM, tokens: Tensor, *, eos_id: int, batch_size: int) -> float:
    """Mean cross-entropy over every token of a text; the perplexity is its exponential.

    Args:
        model: in whatever state its weights are.
        tokens: (N,) token ids.
        eos_id: the context of the first token.
        batch_size: B streams, each starting from a zero state; 1 is the exact single-stream evaluation.

    Returns:
        Nats per token. Sums are kept in float64.

    Raises:
        ValueError: if there are no tokens or batch_size is below 1.
    """
    return stack_nats_per_token(StackWeights.of(model), tokens, [0], eos_id=eos_id, batch_size=batch_size)[0]


@torch.no_grad()
def stack_nats_per_token(
    weights: StackWeights, tokens: Tensor, trials: Sequence[int], *, eos_id: int, batch_size: int
) -> list[float]:
    """``nats_per_token`` of some trials of a stack, their recurrences side by side.

    Args:
        weights: of K trials.
        tokens: (N,) token ids.
        trials: indices of those that are asked for.
        eos_id: as in ``nats_per_token``.
        batch_size: as in ``nats_per_token``.

    Raises:
        ValueError: as ``nats_per_token``.
    """
    embedding, decoder = weights.embedding, weights.decoder
    k, vocab_size, hidden_size = embedding.shape
    device = embedding.device
    streams = evaluation_streams(tokens.cpu(), batch_size, eos_id=eos_id).to(device)
    state = weights.zero_state(batch_size)
    total = torch.zeros(k, dtype=torch.float64, device=device)
    rows = max(1, LOGITS_PER_CHUNK // vocab_size)
    for inputs, targets in windows(streams, max(1, TOKENS_PER_WINDOW // batch_size), partial=True):
        words = inputs.clamp_min(0).reshape(-1)  # what follows the text's end is not counted
        x = shared_rows(embedding, words).view(k, *inputs.shape, hidden_size)
        hidden, state = run_layers(x, weights.layers, None, state)
        flat_hidden, flat_targets = hidden.reshape(k, -1, hidden_size), targets.reshape(-1)
        for trial in trials:  # logits are large enough for a call of their own
            bias = None if decoder.bias is None else decoder.bias[trial]
            for start in range(0, flat_targets.numel(), rows):
                logits = torch.nn.functional.linear(
                    flat_hidden[trial, start : start + rows], decoder.decoder[trial], bias
                )
                total[trial] += torch.nn.functional.cross_entropy(
                    logits if logits.dtype == torch.float64 else logits.float(),
                    flat_targets[start : start + rows],
                    ignore_index=IGNORED,
                    reduction="sum",
                ).double()
    sums = (total / tokens.numel()).tolist()
    return [sums[trial] for trial in trials]
