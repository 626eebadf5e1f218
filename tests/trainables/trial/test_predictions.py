"""Predictions and the words' mass against the model step by step and against naive loops."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from trainables.data.corpora import Corpus, load_corpus
from trainables.data.phrases import NAMED_WORDS, PHRASES, Phrase, parse_phrase
from trainables.models import make_model as make_any_model
from trainables.models.base import LanguageModel
from trainables.trial.evaluation import nats_per_token
from trainables.trial.predictions import encode, frequent_words, most_probable, next_word, position_after, read_text

EOS = 0


def make_model(*, tied: bool = True, dtype: torch.dtype = torch.float64) -> LanguageModel:
    generator = torch.Generator().manual_seed(3)
    model = make_any_model(23, 8, tie_weights=tied, init_range=0.8, generator=generator, dtype=dtype)
    if model.decoder_bias is not None:
        torch.nn.init.normal_(model.decoder_bias, generator=generator)
    return model


def make_text(length: int, seed: int = 5) -> torch.Tensor:
    return torch.randint(0, 23, (length,), generator=torch.Generator().manual_seed(seed))


def step_by_step(model: LanguageModel, text: torch.Tensor) -> np.ndarray:
    """(N, V): the softmax at each position, one token at a time."""
    state, word, rows = model.zero_state(1), EOS, []
    for token in text.tolist():
        logits, state = model(torch.tensor([[word]]), state)
        rows.append(torch.softmax(logits[0, 0], -1))
        word = token
    return torch.stack(rows).detach().numpy()


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return make_model(tied=request.param)


def test_distributions_are_those_of_the_model_step_by_step(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows of 7 tokens in chunks of 3: neither must show in the result.
    monkeypatch.setattr("trainables.trial.predictions.TOKENS_PER_WINDOW", 7)
    monkeypatch.setattr("trainables.trial.predictions.LOGITS_PER_CHUNK", 3 * 23)
    text = make_text(40)
    found = read_text(model, text, eos_id=EOS, positions=range(40)).distributions
    assert sorted(found) == list(range(40))
    np.testing.assert_allclose(np.stack([found[i] for i in range(40)]), step_by_step(model, text), rtol=1e-12)
    for distribution in found.values():
        assert distribution.sum() == pytest.approx(1.0, abs=1e-12)


def test_distributions_give_the_single_stream_perplexity(model: LanguageModel) -> None:
    """The same positions, the same contexts: the targets' probabilities are the evaluation's."""
    text = make_text(50)
    found = read_text(model, text, eos_id=EOS, positions=range(50)).distributions
    nats = -np.mean([math.log(found[i][token]) for i, token in enumerate(text.tolist())])
    assert nats == pytest.approx(nats_per_token(model, text, eos_id=EOS, batch_size=1), rel=1e-12)


def test_the_mass_of_words_is_a_mean_over_all_positions_and_over_those_of_other_targets(model: LanguageModel) -> None:
    text = make_text(60)
    words = sorted(set(text.tolist()))[::4]
    every = step_by_step(model, text)
    reading = read_text(model, text, eos_id=EOS, words=words)
    for i, word in enumerate(words):
        total, elsewhere = [], []
        for position, target in enumerate(text.tolist()):
            total.append(every[position, word])
            if target != word:
                elsewhere.append(every[position, word])
        assert 0 < len(elsewhere) < 60  # or the two means would be one
        assert reading.mass[i] == pytest.approx(np.mean(total), rel=1e-12)
        assert reading.mass_elsewhere[i] == pytest.approx(np.mean(elsewhere), rel=1e-12)
    everything = read_text(model, text, eos_id=EOS, words=range(23))
    assert everything.mass.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_word_that_is_always_the_target_has_no_mass_elsewhere() -> None:
    text = torch.full((5,), 7)
    reading = read_text(make_model(), text, eos_id=EOS, words=[7, 8])
    assert math.isnan(reading.mass_elsewhere[0])
    assert reading.mass_elsewhere[1] == pytest.approx(reading.mass[1])


def test_float32_weights_lose_little() -> None:
    text = make_text(300)
    single, double = (
        read_text(make_model(dtype=d), text, eos_id=EOS, words=[1, 2]) for d in (torch.float32, torch.float64)
    )
    np.testing.assert_allclose(single.mass, double.mass, rtol=1e-5)


def test_without_words_reading_ends_with_the_last_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.trial.predictions.TOKENS_PER_WINDOW", 4)
    model, text = make_model(), make_text(40)
    read = []
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda hidden: (read.append(len(hidden)), logits(hidden))[1])
    read_text(model, text, eos_id=EOS, positions=[5])
    assert sum(read) == 8


@pytest.mark.parametrize("position", [-1, 10])
def test_a_position_outside_the_text_is_refused(position: int) -> None:
    with pytest.raises(ValueError, match=rf"a position must lie in 0\.\.9, got {position}"):
        read_text(make_model(), make_text(10), eos_id=EOS, positions=[position])


def test_a_phrase_of_its_own_begins_after_eos_with_a_state_of_zero(model: LanguageModel) -> None:
    context = make_text(6)
    follows = torch.cat([context, torch.tensor([1])])
    np.testing.assert_allclose(next_word(model, context, eos_id=EOS), step_by_step(model, follows)[-1], rtol=1e-12)


def test_the_state_comes_from_the_text_before_a_position(model: LanguageModel) -> None:
    text = make_text(30)
    in_place = read_text(model, text, eos_id=EOS, positions=[20]).distributions[20]
    alone = next_word(model, text[15:20], eos_id=EOS)
    np.testing.assert_allclose(in_place, step_by_step(model, text)[20], rtol=1e-12)
    assert not np.allclose(in_place, alone, rtol=1e-3)


def test_most_probable_words_by_hand() -> None:
    assert most_probable(np.array([0.1, 0.3, 0.1, 0.5]), 3) == [3, 1, 0]
    assert most_probable(np.array([0.5, 0.5]), 10) == [0, 1]


def make_corpus(words: str, *, test: str = "a b a") -> Corpus:
    vocab = tuple(dict.fromkeys(["<eos>", *words.split()]))
    train, rest = (np.array([vocab.index(w) for w in text.split()], dtype=np.int32) for text in (words, test))
    return Corpus("ptb", "0" * 64, vocab, train, rest, rest)


def test_frequent_words_are_those_of_the_training_split() -> None:
    corpus = make_corpus("b a b c a b <unk> d", test="d d d d a")
    assert {corpus.vocab[i]: rank for i, rank in frequent_words(corpus, 2).items()} == {"b": 1, "a": 2}
    also = frequent_words(corpus, 1, also=("<unk>", "the"))
    assert {corpus.vocab[i]: rank for i, rank in also.items()} == {"b": 1, "<unk>": 4}  # after c, met before it


@pytest.mark.parametrize(
    ("phrase", "text", "position"),
    [
        ([1, 2], [3, 1, 2, 4], 3),
        ([1, 2], [1, 2, 1, 2, 5], 2),
        ([1, 2], [3, 1, 2], None),
        ([1, 2], [1], None),
        ([1], [2, 3], None),
    ],
)
def test_where_a_phrase_ends_in_a_text(phrase: list[int], text: list[int], position: int | None) -> None:
    assert position_after(np.array(phrase), np.array(text)) == position


def test_words_outside_the_vocabulary_are_named_with_the_rule() -> None:
    corpus = make_corpus("a b <unk>")
    np.testing.assert_array_equal(encode("b a b", corpus), [2, 1, 2])
    message = (
        "every word of a phrase must be in the vocabulary of ptb, written as in its files; a rare word is written "
        "<unk> there; got 'a Zebra b apple Zebra', which has 'Zebra', 'apple'"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        encode("a Zebra b apple Zebra", corpus)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("its  audit is ", Phrase(text="its audit is")),
        ("its audit is + completed", Phrase(text="its audit is", next_word="completed")),
        ("1 + 1 + two", Phrase(text="1 + 1", next_word="two")),
    ],
)
def test_a_phrase_is_written_as_in_table_4(text: str, phrase: Phrase) -> None:
    assert parse_phrase(text) == phrase
    assert parse_phrase(str(phrase)) == phrase


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a phrase must have at least one word, got ''"),
        ("+ the", r"a phrase must have at least one word before its \+, got '\+ the'"),
        ("in +", r"one word behind its \+, the next one, got 'in \+'"),
        ("in + federal court", r"one word behind its \+, the next one, got 'in \+ federal court'"),
    ],
)
def test_a_phrase_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_phrase(text)


def test_the_papers_phrases_stand_once_in_the_test_split_before_their_next_words(data_dir) -> None:
    corpus = load_corpus("ptb")
    assert len(PHRASES["ptb"]) == 4
    for phrase in PHRASES["ptb"]:
        ids = encode(phrase.text, corpus)
        position = position_after(ids, corpus.test)
        assert position is not None
        assert corpus.vocab[corpus.test[position]] == phrase.next_word
        assert position_after(ids, corpus.test[position:]) is None
    ranks = {corpus.vocab[i]: rank for i, rank in frequent_words(corpus, 0, also=NAMED_WORDS).items()}
    assert ranks == {"the": 1, "<unk>": 2, "a": 7, "an": 32}
