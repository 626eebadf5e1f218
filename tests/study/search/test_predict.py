"""Table 4's predictions from untrained weights: of which trials, what is recorded, what is not computed again."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from study.records.records import read_table
from study.search import predict as module
from study.search.predict import NUM_FREQUENT, predict, questions
from study.spec.spec import StudySpec
from tests.support.studies import make_spec, open_setting, run_all
from trainables.data.corpora import Corpus, load_corpus
from trainables.data.phrases import PHRASES, Phrase, parse_phrase
from trainables.models import make_model
from trainables.models.base import LanguageModel
from trainables.storage.checkpoint import CheckpointFolder
from trainables.trial.predictions import encode, next_word, position_after, read_text

PHRASE = parse_phrase("a0 b1 + c2")
BUDGET = {"num_samples": 1, "max_epochs": 3, "num_seeds": 2}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """With a short test split."""
    whole = load_corpus("toy")
    return dataclasses.replace(whole, test=whole.test[:900].copy())


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """A finished study whose confirm trials have (untrained) best weights."""
    setting = open_setting(tmp_path, **BUDGET)
    run_all(setting)
    for trial in setting.ledger.in_block("confirm"):
        save(setting.spec, str(tmp_path), trial.trial_id)
    return str(tmp_path)


def weights(spec: StudySpec, trial_id: str) -> LanguageModel:
    generator = torch.Generator().manual_seed(int(re.search(r"\d+$", trial_id)[0]))
    return make_model(401, 48, tie_weights=spec.paper.tie_weights, init_range=0.3, generator=generator)


def save(spec: StudySpec, storage: str, trial_id: str) -> None:
    state = {"epoch": 2, "model": weights(spec, trial_id).state_dict()}
    CheckpointFolder(storage, spec.name, trial_id).save("best", state)


def run(storage: str, corpus: Corpus, *phrases: Phrase, specs: list[StudySpec] | None = None) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    specs = specs or [make_spec(**BUDGET)]
    number = predict(specs, storage, questions(phrases, corpus), corpus, device="cpu", console=console)
    return number, console.file.getvalue()


def rows(storage: str, table: str) -> list[dict]:
    return read_table(storage, table).to_pylist()


def test_predictions_of_each_confirmed_seed(storage: str, corpus: Corpus) -> None:
    number, output = run(storage, corpus, PHRASE)
    assert number == 2
    assert "confirm-paper-s101: 1 phrase, 50 words over 900 positions" in output
    spec = make_spec(**BUDGET)
    found = rows(storage, "predictions")
    assert {(r["trial_id"], r["seed"], r["study"], r["epoch"]) for r in found} == {
        (f"confirm-paper-s{seed}", seed, spec.name, 2) for seed in (101, 102)
    }
    for trial_id in ("confirm-paper-s101", "confirm-paper-s102"):
        own = sorted((r for r in found if r["trial_id"] == trial_id), key=lambda r: r["rank"])
        expected = next_word(weights(spec, trial_id), torch.from_numpy(encode("a0 b1", corpus)), eos_id=corpus.eos_id)
        order = np.argsort(-expected)
        assert [r["rank"] for r in own] == list(range(1, 11))
        assert [r["word"] for r in own] == [corpus.vocab[i] for i in order[:10]]
        assert [r["probability"] for r in own] == pytest.approx(expected[order[:10]])
        follows = corpus.vocab.index("c2")
        assert {(r["phrase"], r["next_word"], r["next_word_rank"]) for r in own} == {
            ("a0 b1", "c2", 1 + list(order).index(follows))
        }
        assert own[0]["next_word_probability"] == pytest.approx(expected[follows])
        assert {r["corpus_sha256"] for r in own} == {corpus.sha256}


def test_the_mass_of_words_over_the_test_split(storage: str, corpus: Corpus) -> None:
    run(storage, corpus)
    own = {r["word"]: r for r in rows(storage, "word_mass") if r["seed"] == 101}
    assert sorted(r["frequency_rank"] for r in own.values()) == list(range(1, NUM_FREQUENT + 1))
    model = weights(make_spec(**BUDGET), "confirm-paper-s101")
    test = torch.from_numpy(corpus.test).long()
    everything = read_text(model, test, eos_id=corpus.eos_id, words=range(401))
    for word, row in own.items():
        index = corpus.vocab.index(word)
        assert row["mean_probability"] == pytest.approx(everything.mass[index])
        assert row["mean_probability_elsewhere"] == pytest.approx(everything.mass_elsewhere[index])
        assert row["num_split"] == (corpus.test == index).sum()
        assert row["num_train"] == (corpus.train == index).sum()
        assert (row["split"], row["num_positions"]) == ("test", len(corpus.test))
    counts = np.bincount(corpus.train)
    assert own[corpus.vocab[int(counts.argmax())]]["frequency_rank"] == 1


def test_what_is_on_record_is_not_computed_again(storage: str, corpus: Corpus, monkeypatch) -> None:
    run(storage, corpus, PHRASE)
    before = [rows(storage, table) for table in ("predictions", "word_mass")]
    loaded = []
    model = module._best_model
    monkeypatch.setattr(
        module, "_best_model", lambda trial, *more: (loaded.append(trial.trial_id), model(trial, *more))[1]
    )
    number, output = run(storage, corpus, PHRASE, Phrase(text=PHRASE.text))
    assert (number, loaded) == (2, [])
    assert output.count("on record") == 2
    assert [rows(storage, table) for table in ("predictions", "word_mass")] == before
    # A new phrase is added, and the split is not read again for it.
    monkeypatch.setattr(module, "frequent_words", None)
    _, output = run(storage, corpus, PHRASE, Phrase(text="d3"))
    assert output.count(": 1 phrase\n") == 2
    after = rows(storage, "predictions")
    assert {r["phrase"] for r in after} == {"a0 b1", "d3"}
    assert [r for r in after if r["phrase"] == "a0 b1"] == before[0]
    assert rows(storage, "word_mass") == before[1]


def test_a_next_word_that_was_not_known_before_replaces_the_phrase(storage: str, corpus: Corpus) -> None:
    run(storage, corpus, Phrase(text="a0 b1"))
    assert {r["next_word_rank"] for r in rows(storage, "predictions")} == {None}
    run(storage, corpus, PHRASE)
    assert {r["next_word"] for r in rows(storage, "predictions")} == {"c2"}
    assert len(rows(storage, "predictions")) == 20


def test_only_complete_confirm_trials_of_the_recipe_are_read(tmp_path: Path, corpus: Corpus) -> None:
    """Trials of the search, of the tuned configuration and an unfinished one have weights too, and are skipped."""
    budget = {"num_samples": 4, "max_epochs": 3, "num_seeds": 2}
    setting = open_setting(tmp_path, **budget)
    run_all(setting, stop_after=10_000)
    origins = {t.origin for t in setting.ledger.in_block("confirm")}
    assert len(origins) == 2
    unfinished = setting.ledger.trials["confirm-paper-s102"]
    unfinished.status = "interrupted"
    setting.ledger._write_trial(unfinished)
    for trial_id in setting.ledger.trials:
        save(setting.spec, str(tmp_path), trial_id)
    assert run(str(tmp_path), corpus, PHRASE, specs=[make_spec(**budget)])[0] == 1
    assert {r["trial_id"] for t in ("predictions", "word_mass") for r in rows(str(tmp_path), t)} == {
        "confirm-paper-s101"
    }


def test_missing_weights_are_named_and_the_others_go_on(storage: str, corpus: Corpus) -> None:
    name = make_spec(**BUDGET).name
    CheckpointFolder(storage, name, "confirm-paper-s101").delete("best")
    number, output = run(storage, corpus, PHRASE)
    assert number == 1
    assert (
        f"{name}, confirm-paper-s101: its best weights, checkpoints/{name}/confirm-paper-s101/best.pt, are not under "
        f"{storage}: bring them there from where the study ran"
    ) in output
    assert {r["seed"] for r in rows(storage, "predictions")} == {102}


@pytest.mark.parametrize("state", [{"epoch": 1}, {"epoch": 1, "model": {"embedding": torch.zeros(2, 2)}}])
def test_weights_of_another_trial_are_refused(storage: str, corpus: Corpus, state: dict) -> None:
    CheckpointFolder(storage, make_spec(**BUDGET).name, "confirm-paper-s101").save("best", state)
    number, output = run(storage, corpus, PHRASE)
    assert number == 1
    assert "confirm-paper-s101: its best weights are not those of this trial" in output


def test_a_study_without_a_confirmed_trial_says_so(tmp_path: Path, corpus: Corpus) -> None:
    number, output = run(str(tmp_path), corpus, PHRASE)
    assert number == 0
    assert "no complete confirm trial of the paper's recipe" in output


def test_unknown_words_and_two_next_words_are_refused(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match=r"vocabulary of toy.* got 'a0 zebra', which has 'zebra'"):
        questions([Phrase(text="a0 zebra")], corpus)
    with pytest.raises(ValueError, match="which has 'zebra'"):
        questions([Phrase(text="a0", next_word="zebra")], corpus)
    with pytest.raises(ValueError, match=r"given twice: 'a0 \+ b1', 'a0 \+ c2'"):
        questions([parse_phrase("a0 + b1"), parse_phrase("a0 + c2")], corpus)
    for pair in (("a0 + b1", "a0"), ("a0", "a0 + b1")):
        (one,) = questions(map(parse_phrase, pair), corpus)
        assert one.phrase == parse_phrase("a0 + b1")


def test_the_papers_phrases_are_read_at_their_place_in_the_test_split(data_dir: Path) -> None:
    """With the state carried from the text before; another phrase starts from nothing."""
    ptb = load_corpus("ptb")
    asked = questions([Phrase(text="the company")], ptb)
    assert [q.phrase for q in asked] == [*PHRASES["ptb"], Phrase(text="the company")]
    assert [q.in_test_split for q in asked] == [True] * 4 + [False]
    for question in asked[:4]:
        place = module._place(question, ptb)
        assert ptb.vocab[ptb.test[place]] == question.phrase.next_word
        np.testing.assert_array_equal(ptb.test[place - len(question.context) : place], question.context)


def test_a_phrase_of_the_test_split_has_the_state_of_the_text_before(storage: str, corpus: Corpus, monkeypatch) -> None:
    words = [corpus.vocab[i] for i in corpus.test[700:704]]
    phrase = Phrase(text=" ".join(words[:3]), next_word=words[3])
    place = position_after(corpus.test[700:703], corpus.test)
    monkeypatch.setitem(PHRASES, "toy", (phrase,))
    run(storage, corpus, PHRASE)
    model = weights(make_spec(**BUDGET), "confirm-paper-s101")
    test = torch.from_numpy(corpus.test).long()
    carried = read_text(model, test, eos_id=corpus.eos_id, positions=[place]).distributions[place]
    alone = next_word(model, test[700:703], eos_id=corpus.eos_id)
    own = [r for r in rows(storage, "predictions") if r["seed"] == 101]
    first = {r["phrase"]: r["probability"] for r in own if r["rank"] == 1}
    assert set(first) == {phrase.text, PHRASE.text}
    assert first[phrase.text] == pytest.approx(carried.max())
    assert first[phrase.text] != pytest.approx(alone.max(), rel=1e-3)
