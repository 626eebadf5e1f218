"""The tables' values, what stands in settings that were not run, and the trials behind each number."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import paper
from analysis.records.load import Results, load_results
from analysis.records.sources import keys_of, trial_keys
from analysis.tables.render import WIDTH
from analysis.tables.table import TABLES, Column, Measured, Row, Table, is_missing, plain, register
from analysis.tables.table1_2 import table_1, table_2
from analysis.tables.table3 import parameters
from analysis.tables.table4 import COMPARED
from study.records.records import STATUSES, Setting
from tests.support.synthetic import (
    EPOCH_S,
    write_run,
    write_trial,
)
from trainables.recipes import VARIANTS

SETTING = Setting("ptb", "small", "real")


def row_of(table: Table, name: str) -> Row:
    return next(row for row in table.rows if row.name == name)


def shown(table: Table, name: str, title: str) -> str:
    column = next(c for c in table.columns if c.title == title)
    return column.text(row_of(table, name).data)


@pytest.fixture
def hand(tmp_path: Path) -> Results:
    """Three confirm trials of each origin with round numbers."""
    storage = str(tmp_path)
    write_run(storage, SETTING, "s", num_seeds=3, max_epochs=50)
    write_trial(storage, SETTING, "s", "default-0000", [100.0, 90.0])
    write_trial(storage, SETTING, "s", "tpe-0001", [100.0, 80.0])
    for origin, valid, test in (
        ("paper", (88.0, 88.0, 88.0), (84.0, 85.0, 86.0)),
        ("tpe-0001", (81.0,) * 3, (78.0,) * 3),
    ):
        for seed in range(3):
            write_trial(
                storage, SETTING, "s", f"confirm-{origin}-s{101 + seed}", [95.0], origin=origin, test_ppl=test[seed],
                single_stream_valid_ppl=valid[seed],
            )  # fmt: skip
    return load_results([storage])


def test_table_1_by_hand(hand: Results) -> None:
    table = table_1(hand)
    data = row_of(table, "ptb/small/real").values()
    assert (data["paper_valid"], data["paper_test"], data["state"]) == (86.3, 82.7, "done")
    assert data["recipe_valid"] == pytest.approx(88.0)
    assert data["recipe_valid_diff"] == pytest.approx(1.7)
    geometric = (84.0 * 85.0 * 86.0) ** (1 / 3)
    assert data["recipe_test"] == pytest.approx(geometric)
    assert data["recipe_test_diff"] == pytest.approx(geometric - 82.7)
    assert data["recipe_test_low"] < geometric < data["recipe_test_high"]
    assert (data["tuned_origin"], data["tuned_confirmed"]) == ("tpe-0001", True)
    assert data["tuned_test_diff"] == pytest.approx(78.0 - 82.7)
    assert (data["num_trials"], data["num_complete"]) == (8, 8)
    assert data["device_hours"] == pytest.approx((2 + 2 + 6) * EPOCH_S / 3600)
    assert shown(table, "ptb/small/real", "Recipe test") == "85.0 (82.5 to 87.5)"
    assert shown(table, "ptb/small/real", "Seeds") == "3 + 3"
    assert shown(table, "ptb/small/real", "Tuned - paper, test") == "-4.7"


def test_table_1_keeps_the_trials_behind_each_number(hand: Results) -> None:
    data = row_of(table_1(hand), "ptb/small/real").data
    behind = {key: value.trials for key, value in data.items() if isinstance(value, Measured)}
    ids = {
        "recipe": [f"confirm-paper-s{seed}" for seed in (101, 102, 103)],
        "tuned": [f"confirm-tpe-0001-s{seed}" for seed in (101, 102, 103)],
    }
    for kind, split in itertools.product(ids, ("valid", "test")):
        for end in ("", "_seeds", "_diff"):
            assert behind.pop(f"{kind}_{split}{end}") == trial_keys("s", ids[kind])
    every = trial_keys("s", sorted(["default-0000", "tpe-0001", *ids["recipe"], *ids["tuned"]]))
    assert behind == {"num_trials": every, "device_hours": every}


def test_every_setting_of_the_paper_is_there_even_those_it_could_not_run(tmp_path: Path) -> None:
    table = table_1(load_results([str(tmp_path)]))
    assert [row.name for row in table.rows] == [
        f"{corpus}/{size}/{variant}"
        for corpus in ("ptb", "wikitext2")
        for size in ("small", "medium", "large")
        for variant in VARIANTS
    ]
    assert {row.values()["state"] for row in table.rows} == {"not run"}
    assert shown(table, "ptb/small/al", "Recipe valid") == "not run"
    assert shown(table, "wikitext2/large/real", "Paper test") == "-"
    assert sum(row.values()["paper_valid"] is not None for row in table.rows) == 20
    assert table.provenance().empty


def test_the_papers_numbers_are_table_1s(tmp_path: Path) -> None:
    rows = {row.name: row.values() for row in table_1(load_results([str(tmp_path)])).rows}
    for number in paper.NUMBERS:
        if number.table == "Table 1":
            split = number.quantity.removesuffix("_ppl")
            assert rows[f"{number.corpus}/{number.size}/{number.variant}"][f"paper_{split}"] == number.value


def test_other_settings_that_were_run_follow(tmp_path: Path) -> None:
    for setting in (Setting("toy", "tiny", "re"), Setting("wikitext2-a", "small", "al"), Setting("ptb", "tiny", "al")):
        write_run(str(tmp_path), setting, "-".join(setting))
    table = table_1(load_results([str(tmp_path)]))
    assert [row.name for row in table.rows[24:]] == ["ptb/tiny/al", "toy/tiny/re"]  # Table 2 has the other
    assert row_of(table, "toy/tiny/re").values()["paper_test"] is None


def test_table_2_has_the_halves_of_wikitext2(tmp_path: Path) -> None:
    bare = table_2(load_results([str(tmp_path)]))
    assert [row.name for row in bare.rows] == [
        f"wikitext2-{half}/small/{variant}" for half in "ab" for variant in VARIANTS
    ]
    numbers = [n for n in paper.NUMBERS if n.table == "Table 2"]
    assert len(numbers) == 16
    for number in numbers:
        data = row_of(bare, f"{number.corpus}/{number.size}/{number.variant}").values()
        assert data[f"paper_{number.quantity.removesuffix('_ppl')}"] == number.value
    setting = Setting("wikitext2-b", "small", "re")
    write_run(str(tmp_path), setting, "s", num_seeds=1, max_epochs=50)
    write_trial(
        str(tmp_path), setting, "s", "confirm-paper-s101", [150.0], origin="paper", single_stream_valid_ppl=149.0,
        test_ppl=141.9,
    )  # fmt: skip
    write_run(str(tmp_path), Setting("wikitext2-a", "tiny", "re"), "t")
    table = table_2(load_results([str(tmp_path)]))
    assert shown(table, "wikitext2-b/small/re", "Recipe - paper, test") == "+1.0"
    assert row_of(table, "wikitext2-b/small/re").data["recipe_test"].trials == (("s", "confirm-paper-s101"),)
    assert [row.name for row in table.rows[8:]] == ["wikitext2-a/tiny/re"]


def test_a_search_value_is_marked_and_not_compared(tmp_path: Path) -> None:
    write_run(str(tmp_path), SETTING, "s")
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [100.0, 90.0])
    table = table_1(load_results([str(tmp_path)]))
    row = row_of(table, "ptb/small/real")
    assert row.values()["state"] == "partial"
    assert shown(table, row.name, "Tuned valid") == "90.0*"
    assert shown(table, row.name, "Tuned test") == "none yet"
    assert row.values()["tuned_valid_diff"] is None
    assert "recipe and tuned: search value, not confirmed" in row.note


def test_all_failed_and_all_pruned_and_only_a_run(tmp_path: Path) -> None:
    for i, status in enumerate(("failed", "pruned", "none")):
        setting = Setting("ptb", "medium", list(VARIANTS)[i])
        write_run(str(tmp_path), setting, status)
        for j in range(0 if status == "none" else 2):
            ppls = [math.nan] if status == "failed" else [300.0, 250.0]
            write_trial(str(tmp_path), setting, status, f"random-{j:04d}", ppls, status=status)
    table = table_1(load_results([str(tmp_path)]))
    failed, pruned, none = (row_of(table, f"ptb/medium/{variant}") for variant in ("baseline", "al", "re"))
    assert failed.note == none.note == "recipe and tuned: no result yet"
    assert (failed.values()["num_failed"], none.values()["num_trials"]) == (2, 0)
    assert pruned.values()["tuned_valid"] == pytest.approx(250.0)
    assert "random-0000 was pruned after 2 epochs" in pruned.note
    assert shown(table, failed.name, "Recipe valid") == "none yet"


def test_other_studies_of_a_setting_are_named(tmp_path: Path) -> None:
    setting = Setting("toy", "tiny", "re")
    for study, epochs in (("long", 12), ("short", 3)):
        write_run(str(tmp_path), setting, study, max_epochs=epochs)
    assert "left out, of the same setting: short" in row_of(table_1(load_results([str(tmp_path)])), "toy/tiny/re").note


# Counted by hand: embedding and decoder V H (+ V), and two layers of 8 H^2 + 4 H.
COUNTS = {
    "ptb/small/untied": 4_651_600, "ptb/small/tied": 2_641_600,
    "ptb/medium/untied": 19_775_200, "ptb/medium/tied": 13_265_200,
    "ptb/large/untied": 66_022_000, "ptb/large/tied": 51_012_000,
    "wikitext2/small/untied": 13_986_078, "wikitext2/small/tied": 7_297_200,
    "wikitext2/medium/untied": 50_059_878, "wikitext2/medium/tied": 28_395_900,
    "wikitext2/large/untied": 135_879_278, "wikitext2/large/tied": 85_929_000,
}  # fmt: skip


def test_parameter_counts(tmp_path: Path) -> None:
    table = parameters(load_results([str(tmp_path)]))
    assert {row.name: row.values()["num_params"] for row in table.rows} == COUNTS
    stated = {row.name: row.values()["paper"] for row in table.rows if row.values()["paper"]}
    assert stated == {"ptb/medium/untied": "20M", "ptb/large/untied": "66M", "ptb/large/tied": "51M"}
    for name, printed in stated.items():
        assert round(COUNTS[name] / 1e6) == int(printed[:-1])


def test_recorded_parameters_stand_beside_and_a_difference_is_said(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [90.0])
    write_trial(str(tmp_path), Setting("ptb", "small", "al"), "t", "default-0000", [90.0], num_params=17)
    table = parameters(load_results([str(tmp_path)]))
    assert row_of(table, "ptb/small/tied").values()["recorded"] == 2_641_600
    assert row_of(table, "ptb/small/tied").note == ""
    assert "recorded 17 parameters, not 4,651,600" in row_of(table, "ptb/small/untied").note
    assert row_of(table, "ptb/small/tied").data["recorded"].trials == (("s", "default-0000"),)


NOT_MEASURED = {
    *("corpus", "size", "paper_valid", "paper_test", "paper_params", "num_params", "rank", "frequency_rank"),
    *(f"paper_{variant}_{part}" for variant in COMPARED for part in ("probability", "rank")),
    *("num_diverged", "num_left_out", "second_session_epoch", *(f"num_{status}" for status in STATUSES)),
}
"""Columns of the CSV whose numbers the paper or the configuration gives, or that only count what is left out."""


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_keeps_its_promises(name: str, hand: Results, full: Results) -> None:
    for results in (full, hand, load_results(["absent"])):
        table = TABLES[name](results)
        assert table.name == name
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)
        known = set(keys_of(results.trials))
        for row in table.rows:
            assert set(row.data) == set(table.rows[0].data)
            for column in (*table.columns, *table.narrow):
                assert isinstance(column.text(row.data), str)
            for key, value in row.data.items():
                if isinstance(value, Measured):
                    assert set(value.trials) <= known
                    assert value.trials or is_missing(value.value) or value.value == 0, (row.name, key)
                elif isinstance(value, int | float) and not isinstance(value, bool) and not is_missing(value):
                    assert key in NOT_MEASURED, (row.name, key)
        behind = table.provenance()
        assert set(behind["row"]) <= set(names)
        assert set(behind["column"]) <= set(table.frame().columns)
        if results is full:
            assert len(behind)


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"parameters", "footnote4"}))
def test_trials_that_are_too_short_are_said_to_be(name: str, full: Results) -> None:
    assert any("trials of 3 epochs, the full length is 40" in row.note for row in TABLES[name](full).rows)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_fits_in_the_terminal(name: str, full: Results) -> None:
    table = TABLES[name](full)
    widths = [
        max(*map(len, column.title.split("\n")), 0, *(len(column.text(row.data)) for row in table.rows))
        for column in table.narrow
    ]
    assert sum(widths) + len(widths) - 1 <= WIDTH


def test_the_tables_come_in_the_order_of_the_report() -> None:
    """In a process of its own: here any test may have imported one of them before the others."""
    code = "from analysis.tables import TABLES; print(*TABLES)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == [
        "table1", "table2", "table3", "parameters", "table4", "word_mass", "footnote4", "contrasts", "tuning_debt",
        "tuning", "search",
    ]  # fmt: skip


def test_a_table_is_registered_once() -> None:
    def make(results: Results) -> Table:
        column = Column(title="a", text=plain("a"))
        return Table(name="x", title="", caption="", rows=(), columns=(column,), narrow=(column,))

    with pytest.raises(ValueError, match="must be new, got 'table1'"):
        register("table1")(make)
