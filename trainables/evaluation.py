"""Cross-entropy of a text under a model: dropout off, state carried, every token counted."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.batching import IGNORED, evaluation_streams, windows
from trainables.model import VDLSTM

TOKENS_PER_WINDOW = 700
"""Tokens read at once; the state is carried, so it decides speed and memory but not the result."""
LOGITS_PER_CHUNK = 8_000_000
"""Logits that stand at once."""


@torch.no_grad()
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
    device = model.embedding.device
    streams = evaluation_streams(tokens.cpu(), batch_size, eos_id=eos_id).to(device)
    state = model.zero_state(batch_size)
    total = torch.zeros((), dtype=torch.float64, device=device)
    rows = max(1, LOGITS_PER_CHUNK // model.vocab_size)
    for inputs, targets in windows(streams, max(1, TOKENS_PER_WINDOW // batch_size), partial=True):
        hidden, state = model.hidden_states(inputs.clamp_min(0), state)  # what follows the text's end is not counted
        flat_hidden, flat_targets = hidden.reshape(-1, model.hidden_size), targets.reshape(-1)
        for start in range(0, flat_targets.numel(), rows):
            logits = model.logits(flat_hidden[start : start + rows])
            total += torch.nn.functional.cross_entropy(
                logits if logits.dtype == torch.float64 else logits.float(),
                flat_targets[start : start + rows],
                ignore_index=IGNORED,
                reduction="sum",
            ).double()
    return float(total) / tokens.numel()
