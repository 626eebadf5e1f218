"""Table 3: the paper's list as it is printed, ours beside it."""

from __future__ import annotations

import pytest

from analysis import paper
from analysis.records.sources import trial_keys
from analysis.tables.table import Row, Table
from analysis.tables.table3 import table_3
from study.records.records import Setting
from tests.support.frames import confirmed
from tests.support.memory import name_of, results, trial

OWN = "VD-LSTM+REAL (large)"
LARGE = Setting("ptb", "large", "real")


def by_name(table: Table) -> dict[str, Row]:
    return {row.name: row for row in table.rows}


def test_every_row_of_the_paper_as_printed() -> None:
    rows = by_name(table_3(results()))
    assert len(rows) == 15
    numbers = [n for n in paper.NUMBERS if n.table == "Table 3"]
    keys = {"num_params": "params", "valid_ppl": "valid", "test_ppl": "test"}
    for number in numbers:
        data = rows[number.system].values()
        assert data[f"printed_{keys[number.quantity]}"] == number.printed
        assert data[f"paper_{keys[number.quantity]}"] == number.value
    printed = [row.data[f"printed_{key}"] for row in rows.values() for key in keys.values()]
    assert sum(value is not None for value in printed) == len(numbers)


def test_parameters_are_computed_where_we_have_the_shape() -> None:
    rows = by_name(table_3(results()))
    computed = {name: row.values()["num_params"] for name, row in rows.items() if row.values()["num_params"]}
    assert computed == {
        "LSTM (medium)": 19_775_200,
        "LSTM (large)": 66_022_000,
        "VD-LSTM (large, untied, MC)": 66_022_000,
        OWN: 51_012_000,
    }
    for name, count in computed.items():
        assert round(count / 1e6) == pytest.approx(rows[name].values()["paper_params"] / 1e6)


def test_our_result_stands_beside_the_papers_own_system() -> None:
    rows = [trial(LARGE, "default-0000", 80.0), trial(LARGE, "tpe-0001", 70.0)]
    rows += confirmed(LARGE, "paper", [74.0, 75.0], tests=[70.0, 71.0])
    rows += confirmed(LARGE, "tpe-0001", [73.0], tests=[69.0])
    table = table_3(results(rows))
    data = by_name(table)[OWN].values()
    assert data["recipe_test"] == pytest.approx((70 * 71) ** 0.5)
    assert data["recipe_test_low"] < 70
    assert (data["recipe_valid_seeds"], data["tuned_valid_seeds"]) == (2, 1)
    assert (data["tuned_test"], data["tuned_test_low"]) == (pytest.approx(69.0), None)
    assert len(table.rows) == 15
    ids = ["confirm-paper-s101", "confirm-paper-s102"]
    assert by_name(table)[OWN].data["recipe_test"].trials == trial_keys(name_of(LARGE), ids)
    assert by_name(table)["LSTM (large)"].values()["recipe_test"] is None


def test_our_other_networks_follow() -> None:
    small = Setting("ptb", "small", "al")
    rows = confirmed(small, "paper", [88.0, 89.0], tests=[84.0, 85.0])
    rows += confirmed(Setting("wikitext2", "small", "al"), "paper", [100.0])  # another corpus
    rows += [trial(Setting("ptb", "medium", "al"), "default-0000", 80.0)]  # not confirmed
    table = table_3(results(rows))
    assert [row.name for row in table.rows[15:]] == ["ptb/small/al"]
    data = table.rows[15].values()
    assert (data["system"], data["printed_test"]) == ("VD-LSTM+AL (small)", "82.9")
    assert data["num_params"] == 4_651_600
    assert data["recipe_valid"] == pytest.approx((88 * 89) ** 0.5)


def test_a_search_value_is_no_result() -> None:
    table = table_3(results([trial(LARGE, "default-0000", 60.0)]))
    assert by_name(table)[OWN].values()["recipe_valid"] is None
    assert table.provenance().empty
