"""Checks the blocks of a finished study by its trials' rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.records.trials import (
    BEST_FIRST,
    NUM_SELECTED,
    PAPER_ORIGIN,
    SEARCH_BLOCKS,
    SELECT_SEEDS,
    may_win_search,
    select_winner,
)


def in_search(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The trials of the search."""
    return [trial for trial in trials if trial["block"] in SEARCH_BLOCKS]


def origins(trials: Sequence[Mapping[str, Any]], block: str) -> set[str]:
    """The origins of the configurations that a block trained."""
    return {trial["origin"] for trial in trials if trial["block"] == block}


def check_blocks(trials: Sequence[Mapping[str, Any]], *, num_samples: int, num_seeds: int) -> None:
    """Asserts that select trained the best of the search and the recipe, and confirm its winner and the recipe."""
    assert len(in_search(trials)) == num_samples
    best = sorted(
        (t for t in trials if may_win_search(t["block"], t["status"]) and t["block"] != "default"),
        key=lambda trial: tuple(trial[name] for name in BEST_FIRST),
    )
    candidates = {PAPER_ORIGIN, *(trial["trial_id"] for trial in best[:NUM_SELECTED])}
    assert origins(trials, "select") == candidates
    select = [trial for trial in trials if trial["block"] == "select"]
    assert sorted(t["seed"] for t in select) == sorted(len(candidates) * SELECT_SEEDS)
    ppls = {origin: [t["best_valid_ppl"] for t in select if t["origin"] == origin] for origin in candidates}
    confirmed = {PAPER_ORIGIN, select_winner(ppls)}
    assert origins(trials, "confirm") == confirmed
    assert sum(trial["block"] == "confirm" for trial in trials) == len(confirmed) * num_seeds
