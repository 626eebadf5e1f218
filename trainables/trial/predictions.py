"""Next-word probabilities of trained weights: dropout off, one stream, state carried, as in single-stream evaluation.

Shapes: N tokens of a text, V words of the vocabulary, W selected words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.data.batching import evaluation_streams, windows
from trainables.data.corpora import Corpus
from trainables.models.base import LanguageModel
from trainables.trial.evaluation import LOGITS_PER_CHUNK, TOKENS_PER_WINDOW, reader


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Probabilities over a text, read from its first to its last token."""

    distributions: dict[int, np.ndarray]
    """Position -> (V,) float64: the probability of each word there, given all tokens before it."""
    mass: np.ndarray
    """(W,) float64: the mean probability of each word over all positions."""
    mass_elsewhere: np.ndarray
    """(W,) float64: the same over the positions where the word is not the target; NaN without any."""


def read_text(
    model: LanguageModel,
    tokens: Tensor,
    *,
    eos_id: int,
    words: Sequence[int] = (),
    positions: Collection[int] = (),
) -> Reading:
    """Reads a text in one stream from a zero state, ``<eos>`` before its first token.

    Args:
        model: with its present weights.
        tokens: (N,) token ids.
        eos_id: the context of the first token.
        words: ids of the words whose mean probability to measure (section 6.4). Without any, reading ends at the last
            position.
        positions: positions (from 0) whose distribution to return (Table 4).

    Raises:
        ValueError: if there are no tokens, or a position lies outside the text.
    """
    if outside := [p for p in positions if not 0 <= p < len(tokens)]:
        raise ValueError(f"a position must lie in 0..{len(tokens) - 1}, got {outside[0]}")
    device = model.embedding.device
    selected = torch.tensor(list(words), dtype=torch.long, device=device)
    targets = tokens.to(device)
    last = max(positions, default=-1)
    total, elsewhere = (torch.zeros(len(selected), dtype=torch.float64, device=device) for _ in range(2))
    found: dict[int, np.ndarray] = {}
    for start, probabilities in _distributions(model, tokens, eos_id=eos_id):
        stop = start + len(probabilities)
        for position in sorted(p for p in positions if start <= p < stop):
            found[position] = probabilities[position - start].double().cpu().numpy()
        if len(selected):
            given = probabilities[:, selected].double()
            total += given.sum(0)
            elsewhere += (given * (targets[start:stop, None] != selected)).sum(0)
        elif stop > last:
            break
    num_elsewhere = (targets[:, None] != selected).sum(0)
    return Reading(
        distributions=found,
        mass=(total / len(tokens)).cpu().numpy(),
        mass_elsewhere=(elsewhere / num_elsewhere).cpu().numpy(),
    )


def next_word(model: LanguageModel, context: Tensor, *, eos_id: int) -> np.ndarray:
    """(V,) float64: the probability of each word after ``<eos>`` and the context, from a zero state.

    Args:
        model: with its present weights.
        context: (N,) token ids.
        eos_id: the id of ``<eos>``.
    """
    text = torch.cat([context, context.new_tensor([eos_id])])  # the last token is a target only
    return read_text(model, text, eos_id=eos_id, positions=[len(context)]).distributions[len(context)]


def most_probable(probabilities: np.ndarray, number: int) -> list[int]:
    """Ids of the most probable words, the most probable first; ties by the lower id."""
    return [int(i) for i in np.argsort(-probabilities, kind="stable")[:number]]


def encode(text: str, corpus: Corpus) -> np.ndarray:
    """(N,) int64: the ids of the words of a phrase.

    Raises:
        ValueError: if a word is not in the vocabulary.
    """
    words, ids = text.split(), {word: i for i, word in enumerate(corpus.vocab)}
    if unknown := list(dict.fromkeys(word for word in words if word not in ids)):
        hint = "; a rare word is written <unk> there" if "<unk>" in ids else ""
        raise ValueError(
            f"every word of a phrase must be in the vocabulary of {corpus.name}, written as in its files{hint}; "
            f"got {text!r}, which has {', '.join(map(repr, unknown))}"
        )
    return np.array([ids[word] for word in words], dtype=np.int64)


def position_after(phrase: np.ndarray, text: np.ndarray) -> int | None:
    """Position of the token after the first occurrence of a phrase in a text; None without one."""
    if len(text) <= len(phrase):
        return None
    starts = np.lib.stride_tricks.sliding_window_view(text, len(phrase))[:-1]  # no token follows the last
    found = np.flatnonzero((starts == phrase).all(axis=1))
    return int(found[0]) + len(phrase) if found.size else None


def frequent_words(corpus: Corpus, number: int, *, also: Collection[str] = ()) -> dict[int, int]:
    """The most frequent words of the training split, and the words in ``also``: id -> frequency rank, from 1.

    Ties are ranked by the lower id. Words that are not in the vocabulary are left out.
    """
    order = np.argsort(-np.bincount(corpus.train, minlength=len(corpus.vocab)), kind="stable")
    return {int(word): rank for rank, word in enumerate(order, 1) if rank <= number or corpus.vocab[int(word)] in also}


@torch.no_grad()
def _distributions(model: LanguageModel, tokens: Tensor, *, eos_id: int) -> Iterator[tuple[int, Tensor]]:
    """Yields (first position, (n, V) probabilities at it and the positions after it)."""
    one = reader(model)
    streams = evaluation_streams(tokens.cpu(), 1, eos_id=eos_id).to(one.device)
    state = one.zero_state(1)
    rows = max(1, LOGITS_PER_CHUNK // one.vocab_size)
    position = 0
    for inputs, _ in windows(streams, TOKENS_PER_WINDOW, partial=True):
        hidden, state = one.hidden_states(inputs, state)
        for chunk in hidden[0, :, 0].split(rows):
            logits = model.logits(chunk)
            yield position, torch.softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)
            position += len(chunk)
