import io

import pytest
from rich.console import Console

from study.driver.progress import Progress, duration
from study.search.searcher import StudySearcher
from tests.support.studies import open_setting, result, run_all, run_epoch


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (5400, "1.5 h"), (12 * 3600, "12 h"), (10 * 86400, "10 days")],
)
def test_durations_as_a_person_says_them(seconds, text):
    assert duration(seconds) == text


def test_the_view_shows_where_each_trial_stands(tmp_path):
    setting = open_setting(tmp_path)
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    progress = Progress(StudySearcher([setting], max_concurrent=2), console)
    first, second = setting.next_trial(), setting.next_trial()
    for epoch in range(1, 7):
        run_epoch(setting, first, epoch)
    run_epoch(setting, second, 1)
    state = progress._state(setting)
    shown = {"ended": "1/23", "running": "1", "pruned": "0", "failed": "0", "epochs": "7", "tokens/s": "10"}
    assert shown.items() <= state.items()
    assert state["best valid"] == f"{first.best_valid_ppl:.2f}"
    with progress:
        progress.on_step_end(1, [])
    assert "1/23" in console.file.getvalue()


def test_it_is_quiet_where_there_is_no_terminal(tmp_path, monkeypatch):
    setting = open_setting(tmp_path)
    setting.next_trial()
    console = Console(file=io.StringIO(), force_terminal=False)
    with Progress(StudySearcher([setting], max_concurrent=2), console) as progress:
        for step in range(100):
            progress.on_step_end(step, [])
        assert console.file.getvalue() == ""
        progress._last_line -= 61
        progress.on_step_end(101, [])
    assert console.file.getvalue().count("\n") == 1


def test_the_best_perplexity_is_of_the_search_alone(tmp_path):
    """The luckiest fresh seed is no result of the search; without a search it is all there is."""
    searched, recipe = open_setting(tmp_path), open_setting(tmp_path / "recipe", num_samples=0)
    run_all(searched)
    best = searched.ledger.best_valid_ppl
    fresh = searched.ledger.in_block("confirm")[0]
    fresh.valid_ppl.clear()
    assert searched.ledger.record_epoch(fresh, result(fresh, 1, valid_ppl=1.0))
    assert searched.ledger.best_valid_ppl == best
    run_all(recipe)
    assert recipe.ledger.best_valid_ppl == min(t.best_valid_ppl for t in recipe.ledger.in_block("confirm"))
