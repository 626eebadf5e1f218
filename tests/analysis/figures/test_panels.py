"""Grouping, counts and units that the figures share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.figures import panels as groups
from analysis.figures.figure import Part
from analysis.records.load import Results, load_results
from study.records.records import Setting
from tests.support.synthetic import write_run, write_trial

SETTING = Setting("ptb", "small", "real")


@dataclass(frozen=True, kw_only=True)
class Item(groups.OfStudy):
    number: int

    @property
    def is_drawn(self) -> bool:
        return self.number > 0


ITEMS = [
    Item(setting=setting, study="s", number=number)
    for number, setting in enumerate(
        (SETTING._replace(variant="al"), SETTING, SETTING._replace(size="large"), Setting("toy", "tiny", "re"))
    )
]


def test_items_by_corpus_and_size() -> None:
    assert groups.by_group(ITEMS) == [
        ("ptb", "small", ITEMS[:2]), ("ptb", "large", ITEMS[2:3]), ("toy", "tiny", ITEMS[3:])
    ]  # fmt: skip
    assert groups.by_group([]) == []


def test_a_part_for_each_corpus_or_size_with_something_to_draw() -> None:
    def numbers(parts: list[Part]) -> list[tuple[str, str, list[int]]]:
        return [(part.suffix, part.title, [item.number for item in part.info.studies]) for part in parts]

    info = groups.StudiesInfo(studies=tuple(ITEMS))
    assert numbers(groups.parts_by_corpus(info)) == [("ptb", "PTB", [0, 1, 2]), ("toy", "Toy", [3])]
    assert numbers(groups.parts_by_group(info)) == [
        ("ptb-small", "PTB, small (200 units)", [1]),
        ("ptb-large", "PTB, large (1500 units)", [2]),
        ("toy-tiny", "Toy, tiny (48 units)", [3]),
    ]
    nothing = groups.StudiesInfo(studies=tuple(ITEMS[:1]))
    assert nothing.is_empty
    assert groups.parts_by_corpus(nothing) == groups.parts_by_group(nothing) == []


def test_words() -> None:
    assert [groups.span(counts, "trial") for counts in ([], [1], [1, 1], [4, 2], [3])] == [
        "no trials", "1 trial", "1 trial", "2 to 4 trials", "3 trials",
    ]  # fmt: skip
    assert groups.counted(0, "failed") == ""
    assert groups.counted(2, "failed") == "; 2 failed"


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [(0.5, ("seconds", 1.0)), (119.0, ("seconds", 1.0)), (120.0, ("minutes", 60.0)), (7200.0, ("hours", 3600.0))],
)
def test_times_are_read_in_a_unit_that_fits(seconds: float, unit: tuple[str, float]) -> None:
    assert groups.time_unit(seconds) == unit


def test_missing_values_are_none() -> None:
    assert groups.optional([1, 2.5, math.nan, None, math.inf]) == (1.0, 2.5, None, None, None)


def test_studies_without_a_trial_do_not_count(tmp_path: Path) -> None:
    write_run(str(tmp_path), SETTING, "s")
    assert groups.studies(load_results([str(tmp_path)])) == []


def test_curves_are_finite_and_of_the_study(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "random-0001", [500.0, math.nan, 300.0], status="failed")
    write_trial(str(tmp_path), SETTING, "s", "random-0002", [math.nan], status="failed")
    write_trial(str(tmp_path), SETTING, "s", "tpe-0003", [250.0])
    write_trial(str(tmp_path), SETTING._replace(size="large"), "other", "tpe-0001", [99.0])
    results = load_results([str(tmp_path)])
    (study, other) = groups.studies(results)
    found = {name: (e.tolist(), p.tolist()) for name, (e, p) in groups.curves(results, study).items()}
    assert found == {"random-0001": ([1, 3], [500.0, 300.0]), "tpe-0003": ([1], [250.0])}
    assert list(groups.curves(results, other)) == ["tpe-0001"]


@pytest.mark.parametrize("status", ["complete", "interrupted"])
def test_statuses_are_counted_by_name(status: str, tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [50.0], status=status)
    results: Results = load_results([str(tmp_path)])
    expected = dict.fromkeys(("complete", "pruned", "failed", "interrupted"), 0) | {status: 1}
    assert groups.status_counts(results.trials) == expected
