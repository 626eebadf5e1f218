"""The toy corpus: a generated language whose entropy is known exactly: a loss below it is a bug.

A Markov chain over word classes, a Zipf law within each class. A word belongs to one class, so the class sequence can
be read off the words and the process is a first-order Markov chain over words: its entropy rate has a closed form.
Words of a class follow, and are followed by, the same words: they are similar both as inputs and as outputs, as
tying the two word matrices assumes (section 4), and most of them are rare in the training split.

All probabilities are ratios of whole numbers and the random numbers are the raw output of PCG64, whose stream NumPy
guarantees: every machine and every version generates the same text. Raise ``TOY_VERSION`` with any change here, since
it changes the corpus.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cache

import numpy as np

from trainables.recipes import SPLITS

TOY_VERSION = 1
EOS_ID = 0
"""Id of ``<eos>``, whose class has no other word."""
NUM_CLASSES = 10
WORDS_PER_CLASS = 40
SUCCESSOR_WEIGHTS = (41, 25, 13, 7)
"""Weights of a class' four most frequent successors; every other class has ``OTHER_WEIGHT``."""
OTHER_WEIGHT = 1
EOS_WEIGHT = 10
"""Weight of ending the sentence after any class: a sentence has about ten words."""
ZIPF_SCALE, ZIPF_SHIFT = 1_000_000, 2
"""The word of rank r (from 0) in its class has the weight ``ZIPF_SCALE // (r + ZIPF_SHIFT)``."""
MIN_TOKENS = {"train": 20_000, "valid": 8_000, "test": 8_000}
"""A split ends with the first ``<eos>`` at or beyond this length."""


def toy_vocab() -> tuple[str, ...]:
    """Words by id: ``<eos>``, then ``a0 .. a39, b0 ..``: the letter is the class, the number the rank within it."""
    return ("<eos>", *(f"{chr(ord('a') + c)}{rank}" for c in range(NUM_CLASSES) for rank in range(WORDS_PER_CLASS)))


@cache
def toy_tokens(split: str) -> np.ndarray:
    """(N,) int32 token ids of a split, read-only; the last is ``<eos>``.

    Raises:
        ValueError: if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    length = 2 * MIN_TOKENS[split]  # more than enough: the last sentence ends long before
    # The first row draws the classes and the second the words within them, both by inverting the distribution.
    draws = _uniform(2 * length, stream=1 + SPLITS.index(split)).reshape(2, length)
    cumulative = np.cumsum(_class_weights(), axis=1).tolist()
    last = EOS_ID
    classes: list[int] = []
    for draw in draws[0].tolist():
        last = bisect_right(cumulative[last], int(draw * cumulative[last][-1]))
        classes.append(last)
        if last == EOS_ID and len(classes) >= MIN_TOKENS[split]:
            break
    class_N = np.array(classes)
    zipf = np.cumsum(_word_weights())
    rank_N = np.searchsorted(zipf, np.floor(draws[1, : len(classes)] * zipf[-1]), side="right")
    tokens = np.where(class_N == EOS_ID, EOS_ID, 1 + (class_N - 1) * WORDS_PER_CLASS + rank_N).astype(np.int32)
    tokens.setflags(write=False)
    return tokens


def toy_entropy() -> float:
    """Entropy rate in nats per token, exact: sum over classes of pi(c) (H(next class | c) + H(word | c))."""
    transitions = _class_transitions()
    stationary = _stationary(transitions)
    next_class = sum(p * _entropy(row) for p, row in zip(stationary, transitions, strict=True))
    within_class = (1.0 - stationary[EOS_ID]) * _entropy(_word_probs())
    return float(next_class + within_class)


def toy_classes() -> np.ndarray:
    """(V,) the class of each word; 0 is ``<eos>``' own."""
    return np.repeat(np.arange(NUM_CLASSES + 1), [1] + [WORDS_PER_CLASS] * NUM_CLASSES)


def toy_transitions() -> np.ndarray:
    """(V, V) probability of the next word (column) after a word (row); the process as one Markov chain over words."""
    classes = toy_classes()
    within = np.concatenate([[1.0], np.tile(_word_probs(), NUM_CLASSES)])
    return _class_transitions()[classes][:, classes] * within


@cache
def _class_weights() -> np.ndarray:
    """(C + 1, C + 1) int64: weight with which a class (column) follows another (row); class 0 is ``<eos>``."""
    size = NUM_CLASSES + 1
    weights = np.full((size, size), OTHER_WEIGHT, dtype=np.int64)
    # The most frequent successors of a class are the first of a random order of the classes.
    successors = 1 + np.argsort(_uniform(size * NUM_CLASSES, stream=0).reshape(size, NUM_CLASSES), axis=1)
    for place, weight in enumerate(SUCCESSOR_WEIGHTS):
        weights[np.arange(size), successors[:, place]] = weight
    weights[:, EOS_ID] = EOS_WEIGHT
    weights[EOS_ID, EOS_ID] = 0  # no empty sentences
    return weights


def _class_transitions() -> np.ndarray:
    weights = _class_weights()
    return weights / weights.sum(axis=1, keepdims=True)


def _word_weights() -> np.ndarray:
    """(WORDS_PER_CLASS,) int64, the same in every class."""
    return ZIPF_SCALE // (np.arange(WORDS_PER_CLASS, dtype=np.int64) + ZIPF_SHIFT)


def _word_probs() -> np.ndarray:
    weights = _word_weights()
    return weights / weights.sum()


def _stationary(transitions: np.ndarray) -> np.ndarray:
    """(C,) the stationary distribution: pi P = pi, sum pi = 1."""
    size = len(transitions)
    equations = np.vstack([transitions.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]


def _entropy(probs: np.ndarray) -> float:
    return -math.fsum(p * math.log(p) for p in probs.tolist() if p > 0)


def _uniform(count: int, *, stream: int) -> np.ndarray:
    """(count,) float64 in [0, 1) with 53 random bits each."""
    raw = np.random.PCG64([TOY_VERSION, stream]).random_raw(count)
    return (raw >> np.uint64(11)) * 2.0**-53
