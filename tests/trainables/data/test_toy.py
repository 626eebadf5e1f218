"""The generated language: the same everywhere, built as it says, and with the entropy that it says."""

import hashlib

import numpy as np
import pytest

from trainables.data import toy
from trainables.data.toy import (
    EOS_ID,
    toy_classes,
    toy_entropy,
    toy_tokens,
    toy_transitions,
    toy_vocab,
)
from trainables.recipes import CORPORA, SPLITS

# Of TOY_VERSION 1. A change of either is a new corpus: raise TOY_VERSION and insert the new values.
GOLDEN_TOKENS = "2f4865fc5f1bef361e7da84e7d8ea28e5758c9094a6ec81225f337e8e167eeaf"
GOLDEN_ENTROPY = 4.623198517572357  # nats per token


@pytest.fixture(scope="module")
def long_text():
    """(400,000 and some,) tokens drawn from the language, the training split's continuation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.MIN_TOKENS, "train", 400_000)
        return toy_tokens.__wrapped__("train")


def test_the_text_is_that_of_this_version():
    content = b"".join(toy_tokens(split).astype("<i4").tobytes() for split in SPLITS)
    assert toy.TOY_VERSION == 1
    assert hashlib.sha256(content).hexdigest() == GOLDEN_TOKENS
    assert toy_entropy() == pytest.approx(GOLDEN_ENTROPY, abs=1e-12)


def test_counts_are_those_of_the_recipe():
    assert {split: toy_tokens(split).size for split in SPLITS} == CORPORA["toy"].num_tokens
    assert len(set(toy_vocab())) == len(toy_vocab()) == CORPORA["toy"].vocab_size
    assert toy_vocab()[EOS_ID] == "<eos>"


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_whole_sentences_without_empty_ones(split):
    tokens = toy_tokens.__wrapped__(split)  # not the cached one, which others may have made read-only
    ends = np.flatnonzero(tokens == EOS_ID)
    assert (tokens.ndim, tokens.dtype) == (1, np.int32)
    assert ends[-1] == tokens.size - 1
    assert ends[0] > 0
    assert np.diff(ends).min() > 1
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_every_word_occurs_in_training_and_most_are_rare():
    counts = np.bincount(toy_tokens("train"), minlength=len(toy_vocab()))
    assert counts.min() >= 1
    assert np.median(counts) < 40


def test_the_splits_are_different_texts():
    starts = {tuple(toy_tokens(split)[:50].tolist()) for split in SPLITS}
    assert len(starts) == 3


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"train, valid, test, got 'dev'"):
        toy_tokens("dev")


def test_the_process_is_a_markov_chain_over_words():
    transitions = toy_transitions()
    assert transitions.shape == (len(toy_vocab()),) * 2
    np.testing.assert_allclose(transitions.sum(1), 1.0, atol=1e-12)
    # words of a class are followed by the same words
    for c in range(toy.NUM_CLASSES + 1):
        rows = transitions[toy_classes() == c]
        assert (rows == rows[0]).all()


def test_entropy_is_the_closed_form_over_words():
    """sum_i pi_i H(P_i) with the stationary distribution found by another way, the power method."""
    transitions = toy_transitions()
    stationary = np.full(len(transitions), 1 / len(transitions))
    for _ in range(500):
        stationary = stationary @ transitions
    logs = np.log(np.where(transitions > 0, transitions, 1.0))
    assert toy_entropy() == pytest.approx(-(stationary @ (transitions * logs).sum(1)), abs=1e-10)


def test_entropy_is_what_a_long_text_costs(long_text):
    """The mean over 400,000 tokens is within four standard errors, about 0.01 nats."""
    transitions = toy_transitions()
    nats = -np.log(transitions[np.append(EOS_ID, long_text[:-1]), long_text])
    # Neighbours are dependent: the error of the mean is taken from means of a thousand tokens.
    blocks = nats[: nats.size // 1000 * 1000].reshape(-1, 1000).mean(1)
    error = blocks.std(ddof=1) / np.sqrt(blocks.size)
    assert error < 0.005
    assert abs(nats.mean() - toy_entropy()) < 4 * error


def test_words_follow_each_other_as_often_as_the_language_says(long_text):
    classes = toy_classes()[long_text]
    size = toy.NUM_CLASSES + 1
    counts = np.bincount(classes[:-1] * size + classes[1:], minlength=size * size).reshape(size, size)
    expected = toy._class_transitions() * counts.sum(1, keepdims=True)
    assert (counts[expected == 0] == 0).all()
    error = np.sqrt(expected * (1 - toy._class_transitions()))
    assert (np.abs(counts - expected) <= 5 * error).all()


def test_words_of_a_class_follow_zipfs_law(long_text):
    words = long_text[long_text != EOS_ID]
    counts = np.bincount((words - 1) % toy.WORDS_PER_CLASS)
    probs = np.array([1 / (rank + 2) for rank in range(40)])
    probs /= probs.sum()
    assert (np.abs(counts - probs * words.size) <= 5 * np.sqrt(probs * words.size) + 1).all()


def test_the_entropy_is_far_below_the_unigram_entropy():
    """Without structure to learn, no variant could beat another: the unigram entropy is far above the true one."""
    counts = np.bincount(toy_tokens("train"), minlength=len(toy_vocab()))
    probs = counts / counts.sum()
    assert -(probs * np.log(probs)).sum() > toy_entropy() + 0.5
