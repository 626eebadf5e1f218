"""Chooses a study's tuned configuration: the winner of the select block.

The search's best configurations and the paper's recipe are trained on fresh seeds, and the lowest mean of
ln(validation perplexity) over those seeds wins. The search's own perplexities do not count: they chose the
configurations, so they are too good by selection. The recipe can win.
"""

from __future__ import annotations

from collections.abc import Iterable

from study.records.trials import NUM_SELECTED, PAPER_ORIGIN, SEARCH_BLOCKS, SELECT_SEEDS, select_winner
from study.search.ledger import Ledger
from trainables.config import TrialConfig


def fresh_trial_id(block: str, origin: str, seed: int) -> str:
    """The id of a trial that repeats a configuration on a fresh seed."""
    return f"{block}-{origin}-s{seed}"


def candidates_of(ledger: Ledger) -> dict[str, TrialConfig]:
    """The configurations of the select block known so far, by origin.

    Returns:
        The paper's recipe; once the search has ended also its best configurations, the best first, and those that the
        block trained before the search was extended. Empty for a study that searches nothing.
    """
    if not ledger.spec.num_trials["select"]:
        return {}
    found = {PAPER_ORIGIN: ledger.spec.paper}
    if not _search_is_open(ledger):
        best = [trial for trial in ledger.ranked if trial.block != "default"][:NUM_SELECTED]
        before = (ledger.trials[str(t.origin)] for t in ledger.in_block("select") if t.origin != PAPER_ORIGIN)
        found |= {trial.trial_id: trial.config for trial in (*best, *before)}
    return found


def winner_of(ledger: Ledger, candidates: Iterable[str] | None = None) -> str | None:
    """The origin of the configuration that won the select block.

    Args:
        ledger: of the study.
        candidates: the origins that take part, if the caller has them.

    Returns:
        None before every candidate has ended on every seed, and for a study that searches nothing.
    """
    origins = list(candidates_of(ledger) if candidates is None else candidates)
    if not origins or _search_is_open(ledger):
        return None
    ppls: dict[str, list[float | None]] = {}
    for origin in origins:
        for seed in SELECT_SEEDS:
            trial = ledger.trials.get(fresh_trial_id("select", origin, seed))
            if trial is None or not trial.ended:
                return None
            ppls.setdefault(origin, []).append(trial.best_valid_ppl if trial.status == "complete" else None)
    return select_winner(ppls)


def _search_is_open(ledger: Ledger) -> bool:
    num_planned = sum(ledger.spec.num_trials[block] for block in SEARCH_BLOCKS)
    return ledger.num_in_block(*SEARCH_BLOCKS) < num_planned or ledger.is_open(*SEARCH_BLOCKS)
