"""The last words of a run: perplexities with intervals, and what tuning changed."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import scipy.stats
from rich.console import Console

from study.cli.summary import print_summary, tuning_sentence
from study.search.setting_search import SettingSearch
from study.search.winner import winner_of
from tests.support.studies import open_setting, result, run_all
from trainables.recipes import PERPLEXITY, SINGLE_STREAM

RECIPE, TUNED = {101: 100.0, 102: 104.0, 103: 99.0}, {101: 96.0, 102: 101.0, 103: 94.0}


def finished(path: Path, *, recipe_wins: bool = False, num_seeds: int = 3) -> SettingSearch:
    """A finished study with these test perplexities by seed."""
    setting = open_setting(path, num_seeds=num_seeds)
    while trial := setting.next_trial():
        ppls = RECIPE if trial.origin == "paper" else TUNED
        for epoch in range(1, setting.spec.max_epochs + 1):
            better = recipe_wins == (trial.origin == "paper")
            ppl = {"valid_ppl": 50.0 if better else 60.0} if trial.block == "select" else {}
            setting.record(trial, result(trial, epoch, **ppl))
        if trial.block == "confirm":
            trial.evaluations[SINGLE_STREAM, "test", PERPLEXITY] = ppls[trial.config.seed]
        setting.end(trial)
    return setting


def test_tuning_has_its_paired_interval(tmp_path: Path) -> None:
    setting = finished(tmp_path)
    logs = [math.log(TUNED[seed] / RECIPE[seed]) for seed in RECIPE]
    low, high = scipy.stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert tuning_sentence(setting.ledger) == (
        f"tuned ({winner_of(setting.ledger)}) against the paper's recipe: test perplexity "
        f"{math.expm1(sum(logs) / 3):+.1%} (95% interval {math.expm1(low):+.1%} to {math.expm1(high):+.1%}, 3 seeds)"
    )


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    assert str(tuning_sentence(finished(tmp_path, num_seeds=1).ledger)).endswith("test perplexity -4.0%, one seed")


def test_a_recipe_that_won_is_said_to_have_won(tmp_path: Path) -> None:
    sentence = tuning_sentence(finished(tmp_path, recipe_wins=True).ledger)
    assert sentence == "on fresh seeds no configuration of the search was better than the paper's recipe"


def test_nothing_is_said_of_tuning_before_there_is_a_winner(tmp_path: Path) -> None:
    setting = open_setting(tmp_path)
    run_all(setting, stop_after=40)
    assert tuning_sentence(setting.ledger) is None
    recipe = open_setting(tmp_path / "recipe", num_samples=0)
    run_all(recipe)
    assert tuning_sentence(recipe.ledger) is None


@pytest.mark.parametrize(("encoding", "sign"), [("utf-8", "±"), ("ascii", "+-")])
def test_every_terminal_can_show_it(tmp_path: Path, encoding: str, sign: str) -> None:
    setting = open_setting(tmp_path)
    run_all(setting, stop_after=128)  # into the confirm block
    setting.ledger.records.flush()
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=60)
    print_summary([setting.spec], str(tmp_path), console)
    file.seek(0)
    text = file.read()
    assert f"40.0 {sign}0.0" in text
    assert max(map(len, text.splitlines()[:3])) <= 60
    assert "to do" in text
