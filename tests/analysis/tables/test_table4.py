"""Table 4: the paper's words beside those of our best trial."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from analysis import paper
from analysis.records.load import Results
from analysis.tables.table import Row, Table
from analysis.tables.table4 import table_4
from study.records.records import Setting
from tests.support.frames import confirmed
from tests.support.memory import name_of, results

PHRASE = paper.TABLE_4[2].phrase
WORDS = ("august", "N", "the", "a", "in", "that", "its", "ended", "was", "has")


def predictions(
    setting: Setting, trial_id: str, phrase: str, words: tuple[str, ...], next_word: str | None, rank: int | None
):
    """Ten words of probability .5, .25, ... and the next word at a rank of its own."""
    keys = {**setting._asdict(), "study": name_of(setting), "trial_id": trial_id, "attempt": 1, "seed": 1, "epoch": 3}
    return [
        {
            **keys, "phrase": phrase, "next_word": next_word, "next_word_rank": rank,
            "next_word_probability": None if rank is None else 0.001, "rank": i, "word": word, "probability": 0.5**i,
        }
        for i, word in enumerate(words, 1)
    ]  # fmt: skip


def made(rows: list, trials: list) -> Results:
    columns = list(results().predictions.columns)
    return dataclasses.replace(results(trials), predictions=pd.DataFrame(rows, columns=columns, dtype=object))


def section(table: Table, phrase: str) -> dict[str, Row]:
    return {str(row.values()["rank"]): row for row in table.rows if row.values()["phrase"] == phrase}


def texts(table: Table, row: Row) -> list[str]:
    return [column.text(row.data) for column in table.columns]


def test_without_ours_the_papers_stands_alone() -> None:
    table = table_4(results())
    assert len(table.rows) == 4 * 11
    assert all(row.dim for row in table.rows)
    assert table.provenance().empty
    rows = section(table, PHRASE)
    assert texts(table, rows["1"]) == ["1", "the 0.09", "august 0.08", "-", "-"]
    assert texts(table, rows["next: august"]) == ["next: august", "not among the ten", "0.08, rank 1", "-", "-"]
    assert {row.section for row in rows.values()} == {f"... {PHRASE} + august"}


def test_every_printed_word_is_there() -> None:
    table = table_4(results())
    for one in paper.TABLE_4:
        rows = section(table, one.phrase)
        found = [rows[str(i)].values()[f"paper_{one.variant}_word"] for i in range(1, 11)]
        assert found == [word for word, _ in one.words]


def test_ours_is_the_trial_of_lowest_validation_perplexity() -> None:
    settings = [Setting("ptb", "small", variant) for variant in ("baseline", "real")]
    trials = [row for setting in settings for row in confirmed(setting, "paper", [90.0, 80.0])]
    rows = [
        row
        for setting in settings
        for seed, words in ((101, ("worse",) * 10), (102, WORDS))
        for row in predictions(setting, f"confirm-paper-s{seed}", PHRASE, words, "august", 1)
    ]
    table = table_4(made(rows, trials))
    found = section(table, PHRASE)
    assert texts(table, found["2"]) == ["2", "N 0.08", "N 0.05", "N 0.25", "N 0.25"]
    assert texts(table, found["next: august"])[3:] == ["0.5, rank 1"] * 2
    assert found["1"].section == f"... {PHRASE} + august (PTB, small (200 units))"
    assert not found["1"].dim
    for setting in settings:
        for row in (found["1"], found["next: august"]):
            assert row.data[f"{setting.variant}_word"].trials == ((name_of(setting), "confirm-paper-s102"),)
    others = section(table, paper.TABLE_4[0].phrase)
    assert texts(table, others["1"])[3:] == ["-", "-"]


def test_a_phrase_of_the_users_own() -> None:
    setting = Setting("ptb", "small", "real")
    mine = "the price of"
    rows = predictions(setting, "confirm-paper-s101", mine, WORDS, None, None)
    table = table_4(made(rows, confirmed(setting, "paper", [90.0])))
    found = section(table, mine)
    assert list(found) == [str(i) for i in range(1, 11)]  # nothing is known to follow
    assert texts(table, found["1"]) == ["1", "-", "-", "-", "august 0.50"]
    assert found["1"].section == f"... {mine} (PTB, small (200 units))"


def test_a_next_word_far_down_keeps_its_rank() -> None:
    setting = Setting("ptb", "small", "real")
    rows = predictions(setting, "confirm-paper-s101", "its price", WORDS, "fell", 321)
    table = table_4(made(rows, confirmed(setting, "paper", [90.0])))
    assert texts(table, section(table, "its price")["next: fell"])[4] == "0.001, rank 321"


def test_another_corpus_has_none_of_the_papers() -> None:
    setting = Setting("toy", "tiny", "real")
    rows = predictions(setting, "confirm-paper-s101", "w1 w2", WORDS, "w3", 4)
    table = table_4(made(rows, confirmed(setting, "paper", [90.0])))
    assert {row.values()["corpus"] for row in table.rows if row.values()["phrase"] == "w1 w2"} == {"toy"}
    assert texts(table, section(table, "w1 w2")["1"])[1:] == ["-", "-", "-", "august 0.50"]
    assert len(table.rows) == 4 * 11 + 11  # the paper's are there all the same


def test_predictions_of_a_study_without_trials_are_shown() -> None:
    setting = Setting("ptb", "small", "real")
    rows = predictions(setting, "confirm-paper-s101", PHRASE, WORDS, "august", 1)
    assert texts(table := table_4(made(rows, [])), section(table, PHRASE)["1"])[4] == "august 0.50"


@pytest.mark.parametrize("variant", ["al", "re"])
def test_other_variants_are_not_compared(variant: str) -> None:
    setting = Setting("ptb", "small", variant)
    rows = predictions(setting, "confirm-paper-s101", PHRASE, WORDS, "august", 1)
    table = table_4(made(rows, confirmed(setting, "paper", [90.0])))
    assert {tuple(texts(table, row)[3:]) for row in table.rows} == {("-", "-")}
