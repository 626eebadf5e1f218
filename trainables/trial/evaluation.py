"""Cross-entropy of a text under a model, or a stack of them: dropout off, state carried, every token counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from trainables.data.batching import IGNORED, evaluation_streams, windows
from trainables.fused.layer import run_layers
from trainables.fused.matmul import product, shared_rows
from trainables.fused.weights import StackWeights
from trainables.models.vdlstm import VDLSTM

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


def token_log_probs(model: VDLSTM, tokens: Tensor, *, eos_id: int) -> Tensor:
    """ln p(token | all tokens before it) of every token of a text, read as one stream from a zero state.

    Args:
        model: in whatever state its weights are.
        tokens: (N,) token ids.
        eos_id: the context of the first token.

    Returns:
        (N,) float32 on the CPU, in the order of the text. The text's perplexity is exp(-mean).

    Raises:
        ValueError: if there are no tokens.
    """
    nats = [each for _, each in _token_nats(StackWeights.of(model), tokens, [0], eos_id=eos_id, batch_size=1)]
    return torch.cat(nats).neg_().float().cpu()


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
    total = torch.zeros(weights.num_trials, dtype=torch.float64, device=weights.embedding.device)
    for trial, nats in _token_nats(weights, tokens, trials, eos_id=eos_id, batch_size=batch_size):
        total[trial] += nats.sum(dtype=torch.float64)
    sums = (total / tokens.numel()).tolist()
    return [sums[trial] for trial in trials]


@torch.no_grad()
def _token_nats(
    weights: StackWeights, tokens: Tensor, trials: Sequence[int], *, eos_id: int, batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """(trial, cross-entropy of each of the next tokens); what fills up the streams' ends counts zero."""
    embedding, decoder = weights.embedding, weights.decoder
    k, vocab_size, hidden_size = embedding.shape
    streams = evaluation_streams(tokens.cpu(), batch_size, eos_id=eos_id).to(embedding.device)
    state = weights.zero_state(batch_size)
    rows = max(1, LOGITS_PER_CHUNK // vocab_size)
    for inputs, targets in windows(streams, max(1, TOKENS_PER_WINDOW // batch_size), partial=True):
        words = inputs.clamp_min(0).reshape(-1)  # what follows the text's end is not counted
        x = shared_rows(embedding, words).view(k, *inputs.shape, hidden_size)
        hidden, state = run_layers(x, weights.layers, None, state)
        flat_hidden, flat_targets = hidden.reshape(k, -1, hidden_size), targets.reshape(-1)
        for trial in trials:  # logits are large enough for a call of their own
            one = slice(trial, trial + 1)
            by_unit, bias = decoder.decoder[one].transpose(1, 2), None if decoder.bias is None else decoder.bias[one]
            for start in range(0, flat_targets.numel(), rows):
                some = slice(start, start + rows)
                logits = product(flat_hidden[one, some], by_unit, bias)[0]
                yield (
                    trial,
                    nn.functional.cross_entropy(logits, flat_targets[some], ignore_index=IGNORED, reduction="none"),
                )
