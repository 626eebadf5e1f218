"""Computes and records the predictions of confirmed trials' best weights, for Table 4 and section 6.4.

The paper's phrases are read at their place in the test split, with the state carried from the text before, as in the
evaluation that gives the test perplexity. A phrase from the command line begins after ``<eos>`` with a state of zero.
The words' probabilities are means over the whole test split. Only complete confirm trials, whose test perplexity is on
record already, read that split.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console

from study.records.provenance import git_state
from study.records.records import Records
from study.records.trials import PAPER_ORIGIN
from study.search.ledger import Ledger, TrialRecord
from study.spec.spec import StudySpec
from trainables.data.batching import as_tokens
from trainables.data.corpora import Corpus
from trainables.data.phrases import NAMED_WORDS, NUM_PREDICTED, PHRASES, Phrase
from trainables.fused.precision import use_precision
from trainables.models import build_model
from trainables.models.base import LanguageModel
from trainables.storage.checkpoint import CheckpointError, CheckpointFolder
from trainables.trial.predictions import encode, frequent_words, most_probable, next_word, position_after, read_text

NUM_FREQUENT = 50  # PTB's "an", the rarest word that section 6.4 names, is the 32nd


@dataclass(frozen=True, kw_only=True)
class Question:
    """A phrase whose next word is to be predicted, in the ids of a corpus."""

    phrase: Phrase
    context: np.ndarray
    """(N,) ids of its words."""
    next_id: int | None
    """Id of the word that follows, if it is known."""
    in_test_split: bool
    """Whether it is read at its place in the test split, and not alone."""


def questions(phrases: Iterable[Phrase], corpus: Corpus) -> list[Question]:
    """The paper's phrases, if they are from this corpus, and others, each once.

    Raises:
        ValueError: if a word is not in the vocabulary, or a phrase is given with two next words.
    """
    papers = PHRASES.get(corpus.name, ())
    asked: dict[str, Phrase] = {}
    for phrase in (*papers, *phrases):
        same = asked.get(phrase.text)
        if same is None or same.next_word is None:
            asked[phrase.text] = phrase
        elif phrase.next_word not in (None, same.next_word):
            raise ValueError(f"a phrase has one next word, and this one is given twice: {str(same)!r}, {str(phrase)!r}")
    found = []
    for phrase in asked.values():
        context = encode(phrase.text, corpus)
        follows = None if phrase.next_word is None else int(encode(phrase.next_word, corpus)[0])
        found.append(Question(phrase=phrase, context=context, next_id=follows, in_test_split=phrase in papers))
    return found


def predict(
    specs: Sequence[StudySpec],
    storage: str,
    asked: Sequence[Question],
    corpus: Corpus,
    *,
    device: str,
    console: Console,
) -> int:
    """Records the predictions and the words' mass of each confirmed trial of the paper's recipe.

    Skips what is on record. Prints and leaves out a trial without usable weights.

    Args:
        specs: the studies.
        storage: where their records and checkpoints are.
        asked: the phrases.
        corpus: of the studies.
        device: where to compute.
        console: to print to.

    Returns:
        The number of trials whose predictions are on record.
    """
    num_answered = 0
    for spec in specs:
        ledger = Ledger(spec, storage)
        trials = [t for t in ledger.in_block("confirm") if t.origin == PAPER_ORIGIN and t.status == "complete"]
        for trial in trials:
            try:
                summary = _predict_trial(trial, spec, ledger.records, asked, corpus, device=device)
            except CheckpointError as error:
                console.print(f"{spec.name}, {trial.trial_id}: {error}", style="yellow", markup=False, soft_wrap=True)
                continue
            num_answered += 1
            console.print(f"{spec.name}, {trial.trial_id}: {summary}", markup=False, soft_wrap=True)
        if not trials:
            console.print(f"{spec.name}: no complete confirm trial of the paper's recipe", style="yellow", markup=False)
    return num_answered


def _predict_trial(
    trial: TrialRecord, spec: StudySpec, records: Records, asked: Sequence[Question], corpus: Corpus, *, device: str
) -> str:
    """Computes and records the missing predictions of one trial; returns a summary."""
    before = [row for row in records.read("predictions") if row["trial_id"] == trial.trial_id]
    known = {row["phrase"]: row["next_word"] for row in before}
    missing = [q for q in asked if q.phrase.text not in known or q.phrase.next_word not in (None, known[q.phrase.text])]
    has_mass = any(row["trial_id"] == trial.trial_id for row in records.read("word_mass"))
    if has_mass and not missing:
        return "on record"
    model, epoch = _best_model(trial, spec, records.storage, device)
    common = {
        "study": spec.name,
        "trial_id": trial.trial_id,
        "attempt": trial.attempt,
        "seed": trial.config.seed,
        "epoch": epoch,
        "git_commit": git_state()[0],
        "corpus_sha256": corpus.sha256,
        "recorded_at": dt.datetime.now(dt.UTC),
    }
    words = {} if has_mass else frequent_words(corpus, NUM_FREQUENT, also=NAMED_WORDS)
    places = {q.phrase.text: _place(q, corpus) for q in missing if q.in_test_split}
    with use_precision("fp32", device):
        test = as_tokens(corpus.test, len(corpus.vocab))
        reading = read_text(model, test, eos_id=corpus.eos_id, words=list(words), positions=places.values())
        rows = []
        for question in missing:
            if question.in_test_split:
                probabilities = reading.distributions[places[question.phrase.text]]
            else:
                probabilities = next_word(model, torch.from_numpy(question.context), eos_id=corpus.eos_id)
            rows += [common | row for row in _prediction_rows(question, probabilities, corpus)]
    if rows:
        renewed = {row["phrase"] for row in rows}
        kept = [row for row in before if row["phrase"] not in renewed]
        records.write("predictions", trial.trial_id, trial.attempt, [*kept, *rows])
    if words:
        mass = [
            common
            | {
                "split": "test",
                "word": corpus.vocab[word],
                "frequency_rank": rank,
                "num_train": int((corpus.train == word).sum()),
                "num_split": int((corpus.test == word).sum()),
                "num_positions": len(corpus.test),
                "mean_probability": float(reading.mass[i]),
                "mean_probability_elsewhere": float(reading.mass_elsewhere[i]),
            }
            for i, (word, rank) in enumerate(words.items())
        ]
        records.write("word_mass", trial.trial_id, trial.attempt, mass)
    done = [f"{len(missing)} {'phrase' if len(missing) == 1 else 'phrases'}"] if missing else []
    done += [f"{len(words)} words over {len(corpus.test):,} positions"] if words else []
    return ", ".join(done)


def _place(question: Question, corpus: Corpus) -> int:
    place = position_after(question.context, corpus.test)
    assert place is not None, f"{question.phrase} is not in the test split of {corpus.name}"  # its content is verified
    return place


def _best_model(trial: TrialRecord, spec: StudySpec, storage: str, device: str) -> tuple[LanguageModel, int]:
    """The trial's best weights and their epoch.

    Raises:
        CheckpointError: if they are not there, or not usable.
    """
    state: dict[str, Any] | None = CheckpointFolder(storage, spec.name, trial.trial_id).load("best")
    if state is None:
        raise CheckpointError(
            f"its best weights, checkpoints/{spec.name}/{trial.trial_id}/best.pt, are not under {storage}: bring them "
            "there from where the study ran"
        )
    model = build_model(trial.config, device=device)
    try:
        model.load_state_dict(state["model"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"its best weights are not those of this trial: {error}") from error
    return model, int(state["epoch"])


def _prediction_rows(question: Question, probabilities: np.ndarray, corpus: Corpus) -> list[dict[str, Any]]:
    follows = question.next_id
    given = None if follows is None else float(probabilities[follows])
    shared = {
        "phrase": question.phrase.text,
        "next_word": question.phrase.next_word,
        "next_word_probability": given,
        "next_word_rank": None if given is None else 1 + int((probabilities > given).sum()),
    }
    return [
        shared | {"rank": rank, "word": corpus.vocab[word], "probability": float(probabilities[word])}
        for rank, word in enumerate(most_probable(probabilities, NUM_PREDICTED), 1)
    ]
