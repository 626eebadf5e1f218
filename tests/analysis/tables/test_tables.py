"""The tables' values, what stands in settings that were not run, and the trials behind each number."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import paper
from analysis.records.load import Results, load_results
from analysis.tables import parameters, table_1, table_2
from analysis.tables.render import WIDTH
from analysis.tables.table import TABLES, Column, Row, Table, plain, register
from study.records.records import Setting
from tests.support.synthetic import (
    EPOCH_S,
    write_run,
    write_second_session,
    write_study,
    write_trial,
    write_weights,
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
    data = row_of(table, "ptb/small/real").data
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
    sources = {(s.row, s.column): (s.study, s.trial_ids.split()) for s in table_1(hand).sources}
    paper_ids = [f"confirm-paper-s{seed}" for seed in (101, 102, 103)]
    tuned_ids = [f"confirm-tpe-0001-s{seed}" for seed in (101, 102, 103)]
    name = "ptb/small/real"
    assert sources.pop((name, "recipe_valid")) == sources.pop((name, "recipe_test")) == ("s", paper_ids)
    assert sources.pop((name, "tuned_valid")) == sources.pop((name, "tuned_test")) == ("s", tuned_ids)
    every = ("s", sorted(["default-0000", "tpe-0001", *paper_ids, *tuned_ids]))
    assert sources == {(name, "num_trials"): every, (name, "device_hours"): every}


def test_every_setting_of_the_paper_is_there_even_those_it_could_not_run(tmp_path: Path) -> None:
    table = table_1(load_results([str(tmp_path)]))
    assert [row.name for row in table.rows] == [
        f"{corpus}/{size}/{variant}"
        for corpus in ("ptb", "wikitext2")
        for size in ("small", "medium", "large")
        for variant in VARIANTS
    ]
    assert {row.data["state"] for row in table.rows} == {"not run"}
    assert shown(table, "ptb/small/al", "Recipe valid") == "not run"
    assert shown(table, "wikitext2/large/real", "Paper test") == "-"
    assert sum(row.data["paper_valid"] is not None for row in table.rows) == 20
    assert table.sources == ()


def test_the_papers_numbers_are_table_1s(tmp_path: Path) -> None:
    rows = {row.name: row.data for row in table_1(load_results([str(tmp_path)])).rows}
    for number in paper.NUMBERS:
        if number.table == "Table 1":
            split = number.quantity.removesuffix("_ppl")
            assert rows[f"{number.corpus}/{number.size}/{number.variant}"][f"paper_{split}"] == number.value


def test_other_settings_that_were_run_follow(tmp_path: Path) -> None:
    for setting in (Setting("toy", "tiny", "re"), Setting("wikitext2-a", "small", "al"), Setting("ptb", "tiny", "al")):
        write_run(str(tmp_path), setting, "-".join(setting))
    table = table_1(load_results([str(tmp_path)]))
    assert [row.name for row in table.rows[24:]] == ["ptb/tiny/al", "toy/tiny/re"]  # Table 2 has the other
    assert row_of(table, "toy/tiny/re").data["paper_test"] is None


def test_table_2_has_the_halves_of_wikitext2(tmp_path: Path) -> None:
    bare = table_2(load_results([str(tmp_path)]))
    assert [row.name for row in bare.rows] == [
        f"wikitext2-{half}/small/{variant}" for half in "ab" for variant in VARIANTS
    ]
    numbers = [n for n in paper.NUMBERS if n.table == "Table 2"]
    assert len(numbers) == 16
    for number in numbers:
        data = row_of(bare, f"{number.corpus}/{number.size}/{number.variant}").data
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
    assert ("wikitext2-b/small/re", "recipe_test", "s", "confirm-paper-s101") in table.sources
    assert [row.name for row in table.rows[8:]] == ["wikitext2-a/tiny/re"]


def test_a_search_value_is_marked_and_not_compared(tmp_path: Path) -> None:
    write_run(str(tmp_path), SETTING, "s")
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [100.0, 90.0])
    table = table_1(load_results([str(tmp_path)]))
    row = row_of(table, "ptb/small/real")
    assert row.data["state"] == "partial"
    assert shown(table, row.name, "Tuned valid") == "90.0*"
    assert shown(table, row.name, "Tuned test") == "none yet"
    assert row.data["tuned_valid_diff"] is None
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
    assert (failed.data["num_failed"], none.data["num_trials"]) == (2, 0)
    assert pruned.data["tuned_valid"] == pytest.approx(250.0)
    assert "random-0000 was pruned after 2 epochs" in pruned.note
    assert shown(table, failed.name, "Recipe valid") == "none yet"


def test_other_studies_of_a_setting_are_named(tmp_path: Path) -> None:
    setting = Setting("toy", "tiny", "re")
    for study, epochs in (("long", 12), ("short", 3)):
        write_run(str(tmp_path), setting, study, max_epochs=epochs)
    assert "left out, of the same setting: short" in row_of(table_1(load_results([str(tmp_path)])), "toy/tiny/re").note


def test_whole_studies_fill_a_row(tmp_path: Path) -> None:
    write_study(str(tmp_path), Setting("toy", "tiny", "real"), recipe_seeds=2, tuned_seeds=2)
    data = row_of(table_1(load_results([str(tmp_path)])), "toy/tiny/real").data
    assert data["state"] == "done"
    assert data["num_trials"] == 12 + 4
    assert data["tuned_valid"] < data["recipe_valid"]


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
    assert {row.name: row.data["num_params"] for row in table.rows} == COUNTS
    stated = {row.name: row.data["paper"] for row in table.rows if row.data["paper"]}
    assert stated == {"ptb/medium/untied": "20M", "ptb/large/untied": "66M", "ptb/large/tied": "51M"}
    for name, printed in stated.items():
        assert round(COUNTS[name] / 1e6) == int(printed[:-1])


def test_recorded_parameters_stand_beside_and_a_difference_is_said(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [90.0])
    write_trial(str(tmp_path), Setting("ptb", "small", "al"), "t", "default-0000", [90.0], num_params=17)
    table = parameters(load_results([str(tmp_path)]))
    assert row_of(table, "ptb/small/tied").data["recorded"] == 2_641_600
    assert row_of(table, "ptb/small/tied").note == ""
    assert "recorded 17 parameters, not 4,651,600" in row_of(table, "ptb/small/untied").note
    assert ("ptb/small/tied", "recorded", "s", "default-0000") in table.sources


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Something for every table: two whole studies, half of one, a second session, what trained weights predict."""
    storage = str(tmp_path_factory.mktemp("full"))
    for variant in ("baseline", "real"):
        setting = Setting("ptb", "small", variant)
        write_study(storage, setting, max_epochs=3, num_random=8)
        write_weights(storage, setting, factor=1.0 if variant == "baseline" else 0.9)
        write_second_session(storage, setting, num_seeds=2)
    write_study(storage, Setting("toy", "tiny", "re"), recipe_seeds=1, tuned_seeds=0)
    write_study(storage, Setting("wikitext2-a", "small", "al"), recipe_seeds=1, tuned_seeds=1, max_epochs=3)
    return load_results([storage])


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_keeps_its_promises(name: str, hand: Results, full: Results) -> None:
    for results in (full, hand, load_results(["absent"])):
        table = TABLES[name](results)
        assert table.name == name
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)
        columns = set(table.frame().columns)
        known = set(zip(results.trials["study"], results.trials["trial_id"], strict=True))
        for source in table.sources:
            assert source.row in names
            assert source.column in columns
            assert source.trial_ids
            assert {(source.study, trial_id) for trial_id in source.trial_ids.split()} <= known
        for row in table.rows:
            assert set(row.data) == set(table.rows[0].data)
            for column in (*table.columns, *table.narrow):
                assert isinstance(column.text(row.data), str)
        if results is full:
            assert table.rows
            assert table.sources


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
        return Table(name="x", title="", caption="", rows=(), columns=(column,), narrow=(column,), sources=())

    with pytest.raises(ValueError, match="must be new, got 'table1'"):
        register("table1")(make)
