"""Importance on a surface where one parameter decides everything."""

from __future__ import annotations

import random
from pathlib import Path

from analysis.figures.importance import ImportanceInfo, draw_importance, importances
from analysis.records.load import load_results
from analysis.stats.importance import MIN_DRAWS
from study.records.records import Setting
from tests.support.synthetic import write_trial

SETTING = Setting("ptb", "small", "re")


def write(path: Path, num: int, *, variant: str = "re") -> None:
    rng = random.Random(0)
    for i in range(num):
        drop_prob, lr = rng.uniform(0.1, 0.8), rng.uniform(0.3, 3.0)
        ppl = 100.0 + 100.0 * (drop_prob - 0.3) ** 2
        setting = SETTING._replace(variant=variant)
        write_trial(str(path), setting, variant, f"random-{i:04d}", [ppl], drop_prob=drop_prob, lr=lr)


def read(path: Path) -> ImportanceInfo:
    return importances(load_results([str(path)]))


def test_the_parameter_that_decides_is_above_the_null(tmp_path: Path) -> None:
    write(tmp_path, 40)
    (found,) = read(tmp_path).studies
    assert (found.setting, found.study, found.num_draws) == (SETTING, "re", 40)
    assert found.trial_ids[:2] == ("random-0000", "random-0001")
    assert [name for name, _ in found.shares] == ["drop_prob", "lr"]
    assert found.null is not None
    assert dict(found.shares)["lr"] < found.null < dict(found.shares)["drop_prob"]
    assert list(found.above_null) == ["drop_prob"]
    assert read(tmp_path) == read(tmp_path)  # the permutations are the same


def test_of_few_draws_nothing_is_said(tmp_path: Path) -> None:
    write(tmp_path, MIN_DRAWS - 1)
    info = read(tmp_path)
    assert info.is_empty
    assert (info.studies[0].num_draws, info.studies[0].trial_ids) == (MIN_DRAWS - 1, ())


def test_the_picture_shows_what_is_above_chance_and_names_what_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 40)
    write(tmp_path, 3, variant="baseline")
    (ax,) = draw_importance(read(tmp_path)).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dropout", "learning rate"]
    assert "40 random draws each; too few draws: VD-LSTM (3)" in [text.get_text() for text in ax.texts]
    marks, chance = ax.lines
    assert list(marks.get_ydata()) == [0.0]
    assert chance.get_linestyle() == "--"
