"""Figure 1: the runs of section 6.2's experiment that count, and how their setting differs from the paper's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.records.load import Results
from analysis.records.names import corpus_title
from trainables.recipes import FIGURE1


def last_epochs(results: Results, target_gradient: str) -> pd.DataFrame:
    """The last epoch of each run of one study with this target gradient; empty without a run.

    Of several studies, one in section 6.2's setting comes first, then the one with the most complete runs.

    Returns:
        Rows of ``Results.subspace`` with ``done`` (complete, after all epochs or where the distance no longer fell, and
        with a finite distance) and ``failed``.
    """
    rows = results.subspace[results.subspace["target_gradient"] == target_gradient]
    last = rows.drop_duplicates(["study", "trial_id"], keep="last")
    complete = last["status"] == "complete"
    done = complete & np.isfinite(last["subspace_distance"].astype(float))
    last = last.assign(done=done, failed=(last["status"] == "failed") | (complete & ~done))
    amounts = {name: (not other_setting(own), own["done"].sum()) for name, own in last.groupby("study", sort=True)}
    return last[last["study"] == max(amounts, key=lambda name: amounts[name])] if amounts else last


def other_setting(runs: pd.DataFrame) -> tuple[str, ...]:
    """The differences between the runs' setting and section 6.2's, a phrase each."""
    found = [f"on {corpus_title(corpus)}, not PTB" for corpus in sorted(set(runs["corpus"]) - {"ptb"})]
    for name, unit in (("hidden_size", "units"), ("num_tokens", "tokens"), ("num_epochs", "epochs")):
        wanted = getattr(FIGURE1, name)
        others = sorted({int(n) for n in runs[name].dropna()} - {wanted})
        found += [f"{n:,} {unit}, not {wanted:,}" for n in others if name != "num_epochs" or n < wanted]
    return tuple(found)
