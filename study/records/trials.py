"""What a trial's block and status mean: which trials ASHA may stop, which have diverged, which may win the search.

The functions take the columns of one row, or whole columns of a frame.
"""

from __future__ import annotations

from typing import Any

SEARCH_BLOCKS = ("default", "random", "tpe")
BLOCKS = (*SEARCH_BLOCKS, "confirm")
STATUSES = ("complete", "pruned", "failed", "interrupted")
NON_FINITE_LOSS = "non_finite_loss"
"""What a trial was stopped by whose loss or perplexity was not a finite number."""
BEST_FIRST = ("best_valid_ppl", "trial_id")
"""The order in which the trials that may win a search stand: the lowest validation perplexity first."""


def is_protected(block: Any, audit: Any) -> Any:
    """Whether ASHA may not stop a trial of the search: the paper's recipe, the random draws, and the audit arm of the
    tpe block. ``audit`` is never null."""
    return (block != "tpe") | audit


def is_diverged(status: Any, stopped_by: Any) -> Any:
    """Whether a trial failed because of its configuration: its loss stopped being finite."""
    return (status == "failed") & (stopped_by == NON_FINITE_LOSS)


def may_win_search(block: Any, status: Any) -> Any:
    """Whether a trial may be the best of its search: one of the search's that was trained in full."""
    return (block != "confirm") & (status == "complete")
