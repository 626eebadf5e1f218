"""The blocks and statuses of trials, and predicates on them; the choice of a study's tuned configuration.

The predicates take values of one row or whole columns of a frame.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SEARCH_BLOCKS = ("default", "random", "tpe")
BLOCKS = (*SEARCH_BLOCKS, "select", "confirm")
PAPER_ORIGIN = "paper"
"""The origin of trials that repeat the paper's recipe; of others it is a search trial's id."""
STATUSES = ("complete", "pruned", "failed", "interrupted")
NUM_SELECTED = 4
"""Best configurations of a search that the select block trains, beside the paper's recipe."""
SELECT_SEEDS = (51, 52)
NON_FINITE_LOSS = "non_finite_loss"
"""``stopped_by`` of a trial whose loss or perplexity was not a finite number."""
BEST_FIRST = ("best_valid_ppl", "trial_id")
"""The columns that rank the trials which may win a search: the lowest validation perplexity first."""


def is_protected(block: Any, audit: Any) -> Any:
    """Whether a search trial is exempt from ASHA: the paper's recipe, the random draws, and the audit arm of the tpe
    block. ``audit`` is never null."""
    return (block != "tpe") | audit


def is_diverged(status: Any, stopped_by: Any) -> Any:
    """Whether a trial failed because of its configuration: its loss stopped being finite."""
    return (status == "failed") & (stopped_by == NON_FINITE_LOSS)


def may_win_search(block: Any, status: Any) -> Any:
    """Whether a trial may be the best of its search: a search trial that was trained in full."""
    return (block != "select") & (block != "confirm") & (status == "complete")


def num_select_trials(num_samples: int) -> int:
    """Trials of the select block after a search of ``num_samples`` trials: its best configurations and the paper's
    recipe, each on every seed of ``SELECT_SEEDS``."""
    return (1 + min(NUM_SELECTED, num_samples - 1)) * len(SELECT_SEEDS) if num_samples > 1 else 0


def select_winner(perplexities: Mapping[str, Sequence[float | None]]) -> str:
    """The configuration of the select block with the lowest mean of ln(validation perplexity) over its seeds.

    Args:
        perplexities: origin -> the best validation perplexity on each seed, None where the trial failed.

    Returns:
        Its origin. A configuration with a failed trial cannot win. The paper's recipe wins a tie, and if all failed.
    """

    def loss(origin: str) -> float:
        ppls = perplexities[origin]
        finite = [math.log(ppl) for ppl in ppls if ppl is not None and math.isfinite(ppl)]
        return statistics.fmean(finite) if finite and len(finite) == len(ppls) else math.inf

    return min(perplexities, key=lambda origin: (loss(origin), origin != PAPER_ORIGIN, origin))
