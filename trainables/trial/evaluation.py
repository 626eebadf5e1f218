"""Evaluates a model, or a stack of them, on a text: dropout off, state carried, every token counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.data.batching import IGNORED, evaluation_streams, windows
from trainables.fused import supports_evaluation
from trainables.fused.layer import run_layers
from trainables.fused.matmul import product, shared_rows
from trainables.fused.weights import StackWeights
from trainables.models.base import LanguageModel

TOKENS_PER_WINDOW = 700
"""Tokens read at once: decides speed and memory, but not the result, since the state is carried."""
LOGITS_PER_CHUNK = 8_000_000
"""Logits in memory at once."""


def nats_per_token(model: LanguageModel, tokens: Tensor, *, eos_id: int, batch_size: int) -> float:
    """Mean cross-entropy over every token of a text; the perplexity is its exponential.

    Args:
        model: with its present weights.
        tokens: (N,) token ids.
        eos_id: the context of the first token.
        batch_size: B streams, each starting from a zero state; 1 is the exact single-stream evaluation.

    Returns:
        Nats per token. Sums are kept in float64.

    Raises:
        ValueError: if there are no tokens or batch_size is below 1.
    """
    return _nats_per_token(reader(model), tokens, [0], eos_id=eos_id, batch_size=batch_size)[0]


def token_log_probs(model: LanguageModel, tokens: Tensor, *, eos_id: int) -> Tensor:
    """ln p(token | all tokens before it) of every token of a text, read as one stream from a zero state.

    Args:
        model: with its present weights.
        tokens: (N,) token ids.
        eos_id: the context of the first token.

    Returns:
        (N,) float32 on the CPU, in the order of the text. The text's perplexity is exp(-mean).

    Raises:
        ValueError: if there are no tokens.
    """
    nats = [each for _, each in _token_nats(reader(model), tokens, [0], eos_id=eos_id, batch_size=1)]
    return torch.cat(nats).neg_().float().cpu()


def stack_nats_per_token(
    weights: StackWeights, tokens: Tensor, trials: Sequence[int], *, eos_id: int, batch_size: int
) -> list[float]:
    """``nats_per_token`` of some trials of a stack, their recurrences side by side.

    Args:
        weights: of K trials.
        tokens: (N,) token ids.
        trials: indices of the trials to evaluate.
        eos_id: as in ``nats_per_token``.
        batch_size: as in ``nats_per_token``.

    Raises:
        ValueError: as ``nats_per_token``.
    """
    return _nats_per_token(StackReader(weights), tokens, trials, eos_id=eos_id, batch_size=batch_size)


def _nats_per_token(
    stack: Reader, tokens: Tensor, trials: Sequence[int], *, eos_id: int, batch_size: int
) -> list[float]:
    total = torch.zeros(stack.num_trials, dtype=torch.float64, device=stack.device)
    for trial, nats in _token_nats(stack, tokens, trials, eos_id=eos_id, batch_size=batch_size):
        total[trial] += nats.sum(dtype=torch.float64)
    sums = (total / tokens.numel()).tolist()
    return [sums[trial] for trial in trials]


@torch.no_grad()
def _token_nats(
    stack: Reader, tokens: Tensor, trials: Sequence[int], *, eos_id: int, batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Yields (trial, cross-entropy of each of the next tokens); padding counts zero."""
    streams = evaluation_streams(tokens.cpu(), batch_size, eos_id=eos_id).to(stack.device)
    state = stack.zero_state(batch_size)
    rows = max(1, LOGITS_PER_CHUNK // stack.vocab_size)
    for inputs, targets in windows(streams, max(1, TOKENS_PER_WINDOW // batch_size), partial=True):
        hidden, state = stack.hidden_states(inputs.clamp_min(0), state)  # padding is read as id 0 and not counted
        flat_targets = targets.reshape(-1)
        for trial in trials:  # logits are large: one trial at a time
            flat_hidden = hidden[trial].flatten(0, 1)
            for start in range(0, flat_targets.numel(), rows):
                some = slice(start, start + rows)
                logits = stack.logits(trial, flat_hidden[some])
                yield (
                    trial,
                    nn.functional.cross_entropy(logits, flat_targets[some], ignore_index=IGNORED, reduction="none"),
                )


class Reader(Protocol):
    """K trials' models that read the same text side by side, dropout off."""

    num_trials: int
    vocab_size: int
    device: torch.device

    def zero_state(self, batch_size: int) -> Any:
        """The state of B streams at the text's beginning."""

    def hidden_states(self, words: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The top layers' hidden states (K, T, B, H) over words (T, B), and the state to carry on."""

    def logits(self, trial: int, hidden: Tensor) -> Tensor:
        """A trial's W h + b (n, V) of hidden states (n, H)."""


class StackReader:
    """Reads with the fused layers.

    Args:
        weights: of K trials.
    """

    def __init__(self, weights: StackWeights) -> None:
        self._weights, self.device = weights, weights.embedding.device
        self.num_trials, self.vocab_size, _ = weights.embedding.shape

    def zero_state(self, batch_size: int) -> Any:
        """As in ``Reader``."""
        return self._weights.zero_state(batch_size)

    @torch.no_grad()
    def hidden_states(self, words: Tensor, state: Any) -> tuple[Tensor, Any]:
        """As in ``Reader``."""
        x = shared_rows(self._weights.embedding, words.reshape(-1)).view(self.num_trials, *words.shape, -1)
        return run_layers(x, self._weights.layers, None, state)

    @torch.no_grad()
    def logits(self, trial: int, hidden: Tensor) -> Tensor:
        """As in ``Reader``."""
        decoder, one = self._weights.decoder, slice(trial, trial + 1)
        bias = None if decoder.bias is None else decoder.bias[one]
        return product(hidden.unsqueeze(0), decoder.decoder[one].transpose(1, 2), bias)[0]


class ModelReader:
    """Reads with a model's own layers, a stack of one.

    Args:
        model: of any parts.
    """

    num_trials = 1

    def __init__(self, model: LanguageModel) -> None:
        self._model, self.vocab_size, self.device = model, model.outputs.vocab_size, model.embedding.device

    def zero_state(self, batch_size: int) -> Any:
        """As in ``Reader``."""
        return self._model.zero_state(batch_size)

    @torch.no_grad()
    def hidden_states(self, words: Tensor, state: Any) -> tuple[Tensor, Any]:
        """As in ``Reader``."""
        hidden, state = self._model.hidden_states(words, state)
        return hidden.unsqueeze(0), state

    @torch.no_grad()
    def logits(self, trial: int, hidden: Tensor) -> Tensor:
        """As in ``Reader``."""
        return self._model.logits(hidden)


def reader(model: LanguageModel) -> Reader:
    """The fastest reader that supports the model."""
    return StackReader(StackWeights.of(model)) if supports_evaluation(model) else ModelReader(model)
