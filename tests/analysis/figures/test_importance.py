"""Importance on a surface where one parameter decides everything."""

from __future__ import annotations

import random
from pathlib import Path

from analysis.figures.importance import MIN_DRAWS, ImportanceInfo, draw_importance, importances
from analysis.records.load import load_results
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


def test_the_parameter_that_decides_comes_first(tmp_path: Path) -> None:
    write(tmp_path, 40)
    (found,) = read(tmp_path).studies
    assert (found.setting, found.study, found.num_draws) == (SETTING, "re", 40)
    assert found.trial_ids[:2] == ("random-0000", "random-0001")
    assert found.parameters == ("drop_prob", "lr")
    assert found.shares[0] > 0.8
    assert sum(found.shares) == 1.0
    assert (found.rank_low[0], found.rank_high[0]) == (1.0, 1.0)
    assert read(tmp_path) == read(tmp_path)  # the bootstrap's draws are the same


def test_few_draws_have_no_interval_and_fewer_nothing(tmp_path: Path) -> None:
    write(tmp_path / "few", MIN_DRAWS)
    (found,) = read(tmp_path / "few").studies
    assert found.rank_low == (None, None)
    write(tmp_path / "fewer", MIN_DRAWS - 1)
    info = read(tmp_path / "fewer")
    assert info.is_empty
    assert (info.studies[0].num_draws, info.studies[0].trial_ids) == (MIN_DRAWS - 1, ())


def test_the_picture_names_the_studies_it_leaves_out(tmp_path: Path) -> None:
    write(tmp_path, 20)
    write(tmp_path, 3, variant="baseline")
    left, right = draw_importance(read(tmp_path)).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["dropout", "learning rate"]
    assert "20 random draws each\ntoo few draws to say anything: VD-LSTM (3)" in [t.get_text() for t in left.texts]
    assert len(right.collections) == 1  # the intervals of the ranks
