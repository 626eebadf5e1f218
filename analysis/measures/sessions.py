"""Footnote 4: a second training session, begun from the first one's final weights, against the first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.records.load import Results
from analysis.records.studies import SettingStudy
from analysis.stats.contrasts import Contrast, contrast
from study.records.trials import PAPER_ORIGIN


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """The lowest validation perplexity of each session, by seed."""

    first: dict[int, float]
    """Over the epochs before the restart."""
    second: dict[int, float]
    """Over the epochs from the restart on."""
    epoch: int
    """The epoch at which the second session begins."""
    trial_ids: tuple[str, ...]
    num_unfinished: int
    """Trials of the study that are not complete."""

    @property
    def both(self) -> dict[int, float]:
        """Over all epochs."""
        return {seed: min(ppl, self.second[seed]) for seed, ppl in self.first.items()}

    @property
    def change(self) -> Contrast | None:
        """The second session minus the first, within each trial; negative where the second is better."""
        return contrast(self.second, self.first)


def sessions(results: Results, study: SettingStudy) -> Sessions | None:
    """The sessions of a study's trials under the paper's recipe, by seed; None without a complete one.

    Uses the confirm block's trials; without one, the search's default trial.
    """
    trials = study.trials[study.trials["second_session_epoch"].notna()]
    recipe = trials[(trials["block"] == "confirm") & (trials["origin"] == PAPER_ORIGIN)]
    if recipe.empty:
        recipe = trials[trials["block"] == "default"]
    done = recipe[recipe["status"] == "complete"].sort_values("trial_id")
    epochs = results.epochs[results.epochs["study"] == study.study]
    epochs = epochs[np.isfinite(epochs["valid_ppl"].astype(float))]
    epochs = epochs.merge(done[["trial_id", "seed", "second_session_epoch"]], on="trial_id")
    is_second = epochs["epoch"] >= epochs["second_session_epoch"]
    first, second = (_best(epochs[rows]) for rows in (~is_second, is_second))
    seeds = sorted(set(first) & set(second))
    if not seeds:
        return None
    return Sessions(
        first={seed: first[seed] for seed in seeds},
        second={seed: second[seed] for seed in seeds},
        epoch=int(done["second_session_epoch"].iloc[0]),
        trial_ids=tuple(done.loc[done["seed"].isin(seeds), "trial_id"]),
        num_unfinished=int((recipe["status"] != "complete").sum()),
    )


def _best(epochs: pd.DataFrame) -> dict[int, float]:
    return {int(seed): float(ppl) for seed, ppl in epochs.groupby("seed")["valid_ppl"].min().items()}
