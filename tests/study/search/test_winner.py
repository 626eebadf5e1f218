"""The select block: fresh seeds decide which configuration is the tuned one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from study.records.trials import NUM_SELECTED, PAPER_ORIGIN, SELECT_SEEDS
from study.search.ledger import TrialRecord
from study.search.setting_search import SettingSearch
from study.search.winner import candidates_of, winner_of
from tests.support.studies import open_setting, perplexity, result, run_all


def finish(setting: SettingSearch, trial: TrialRecord, **more: float) -> None:
    """Trains a trial in full."""
    for epoch in range(1, setting.spec.max_epochs + 1):
        setting.record(trial, result(trial, epoch, **more))
    setting.end(trial)


def run_block(setting: SettingSearch, ppl: dict[tuple[str, int], float]) -> None:
    """Runs the remaining trials, each select trial at the perplexity of its origin and seed; NaN fails it."""
    while trial := setting.next_trial():
        found = ppl[trial.origin, trial.config.seed] if trial.block == "select" else perplexity(trial, 5)
        if math.isnan(found):
            setting.end(trial, failure="the loss of epoch 1 is nan")
        else:
            finish(setting, trial, valid_ppl=found, best_valid_ppl=found)


def searched(path: Path, **changes: int) -> SettingSearch:
    """A study whose search has ended and whose select block has not begun."""
    setting = open_setting(path, **changes)
    while len(setting.ledger.in_block("default", "random", "tpe")) < setting.spec.num_samples:
        trial = setting.next_trial()
        assert trial is not None
        finish(setting, trial)
    return setting


def test_the_best_four_of_the_search_and_the_recipe_are_candidates(tmp_path: Path) -> None:
    setting = searched(tmp_path)
    best = sorted(setting.ledger.in_block("random", "tpe"), key=lambda t: t.best_valid_ppl)[:NUM_SELECTED]
    assert list(candidates_of(setting.ledger)) == [PAPER_ORIGIN, *(t.trial_id for t in best)]


def test_the_searchs_own_perplexities_do_not_count(tmp_path: Path) -> None:
    setting = searched(tmp_path)
    _, lucky, solid, *others = candidates_of(setting.ledger)
    levels = {PAPER_ORIGIN: 100.0, lucky: 110.0, solid: 90.0} | dict.fromkeys(others, 120.0)
    run_block(setting, {(origin, seed): ppl for origin, ppl in levels.items() for seed in SELECT_SEEDS})
    assert winner_of(setting.ledger) == solid
    assert {t.origin for t in setting.ledger.in_block("confirm")} == {PAPER_ORIGIN, solid}
    assert setting.is_finished()


def test_the_mean_is_of_the_logarithm_over_all_seeds(tmp_path: Path) -> None:
    setting = searched(tmp_path)
    _, split, even, *others = candidates_of(setting.ledger)
    ppl = {(o, s): 500.0 for o in (PAPER_ORIGIN, *others) for s in SELECT_SEEDS}
    first, second = SELECT_SEEDS
    # The arithmetic mean of the first is larger, the geometric smaller.
    ppl |= {(split, first): 50.0, (split, second): 190.0, (even, first): 100.0, (even, second): 100.0}
    run_block(setting, ppl)
    assert winner_of(setting.ledger) == split


@pytest.mark.parametrize("tie", [False, True])
def test_the_recipe_can_win_and_is_then_confirmed_once(tmp_path: Path, tie: bool) -> None:
    setting = searched(tmp_path)
    _, *others = candidates_of(setting.ledger)
    levels = {PAPER_ORIGIN: 90.0} | dict.fromkeys(others, 90.0 if tie else 91.0)
    run_block(setting, {(origin, seed): ppl for origin, ppl in levels.items() for seed in SELECT_SEEDS})
    assert winner_of(setting.ledger) == PAPER_ORIGIN
    assert [t.origin for t in setting.ledger.in_block("confirm")] == [PAPER_ORIGIN] * setting.spec.num_seeds
    assert setting.is_finished()


def test_a_configuration_that_fails_on_a_seed_cannot_win(tmp_path: Path) -> None:
    setting = searched(tmp_path)
    _, frail, *others = candidates_of(setting.ledger)
    levels = {PAPER_ORIGIN: 90.0, frail: 10.0} | dict.fromkeys(others, 95.0)
    ppl = {(origin, seed): level for origin, level in levels.items() for seed in SELECT_SEEDS}
    run_block(setting, ppl | {(frail, SELECT_SEEDS[1]): math.nan})
    assert winner_of(setting.ledger) == PAPER_ORIGIN


def test_no_winner_before_all_trials_have_ended(tmp_path: Path) -> None:
    setting = searched(tmp_path)
    for _ in range(setting.spec.num_trials["select"]):
        assert winner_of(setting.ledger) is None
        trial = setting.next_trial()
        assert trial is not None
        assert trial.block == "select"
        finish(setting, trial)
    assert winner_of(setting.ledger) is not None


def test_a_larger_search_selects_again(tmp_path: Path) -> None:
    run_all(open_setting(tmp_path))
    more = open_setting(tmp_path, num_samples=30)
    assert winner_of(more.ledger) is None
    run_all(more)
    assert winner_of(more.ledger) in candidates_of(more.ledger)
    confirmed = [t for t in more.ledger.in_block("confirm") if t.origin == winner_of(more.ledger)]
    assert len(confirmed) == more.spec.num_seeds


def test_a_study_that_searches_nothing_selects_nothing(tmp_path: Path) -> None:
    for num_samples in (0, 1):
        setting = open_setting(tmp_path / str(num_samples), num_samples=num_samples)
        run_all(setting)
        assert not setting.ledger.in_block("select")
        assert winner_of(setting.ledger) is None
        assert {t.origin for t in setting.ledger.in_block("confirm")} == {PAPER_ORIGIN}
