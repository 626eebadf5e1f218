"""Health of the confirm block: the test split, the seeds, and trials that count twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.health.check import PROBLEM, WARNING, Fault, by_place, by_study, fault, listed
from analysis.records.load import TRIAL, Results
from analysis.records.trials import measured
from analysis.stats.contrasts import fewest_seeds
from study.records.parameters import PARAMETERS
from study.records.trials import PAPER_ORIGIN, SEARCH_BLOCKS

MIN_SEEDS = fewest_seeds(1)


def test_split(results: Results) -> Iterator[Fault]:
    """A problem: the test split was read outside the confirm block, or a tuned configuration confirmed while its search
    was running, so the choice may have seen it. A warning: the search was extended afterwards."""
    for study, own in by_study(results.trials):
        read = own[(own["block"] != "confirm") & _test_is_read(results, own)]
        if len(read):
            message = f"trials before confirmation that read the test split: {len(read)}"
            yield fault(PROBLEM, message, [study], read)
        tuned = own[(own["block"] == "confirm") & (own["origin"] != PAPER_ORIGIN) & own["started_at"].notna()]
        search = own[(own["block"] != "confirm") & own["started_at"].notna()]
        if tuned.empty or search.empty:
            continue
        first = tuned["started_at"].min()
        running = search[(search["started_at"] < first) & (search["ended_at"].isna() | (search["ended_at"] > first))]
        if len(running):
            message = f"the winner was confirmed before {listed(running['trial_id'])} had ended"
            yield fault(PROBLEM, message, [study], running)
        later = search[search["started_at"] > first]
        if len(later):
            message = f"trials of search or selection begun after the test split had been read: {len(later)}"
            yield fault(WARNING, message, [study], later)


def endings(results: Results) -> Iterator[Fault]:
    """A problem: a confirm trial failed or was stopped, and a mean over the others flatters. A warning: one is under
    way or has no test perplexity."""
    for study, own in by_study(results.trials):
        confirm = own[own["block"] == "confirm"]
        lost = confirm[confirm["status"].isin(["failed", "pruned"])]
        if len(lost):
            message = f"confirm trials that failed or were stopped: {len(lost)} of {len(confirm)}"
            yield fault(PROBLEM, message, [study], lost)
        open_ = confirm[confirm["status"] == "interrupted"]
        if len(open_):
            message = f"confirm trials that have not ended: {len(open_)} of {len(confirm)}"
            yield fault(WARNING, message, [study], open_)
        unread = confirm[(confirm["status"] == "complete") & measured(results.evaluations, confirm, "test").isna()]
        if len(unread):
            message = f"complete confirm trials without a test perplexity: {len(unread)}"
            yield fault(WARNING, message, [study], unread)


def too_few_seeds(results: Results) -> Iterator[Fault]:
    """A warning: no exact test can reach p < .05."""
    for study, origin, own in _confirmed(results):
        if own["seed"].nunique() < MIN_SEEDS:
            message = f"seeds of {_words(origin)}: {own['seed'].nunique()}, exact tests take {MIN_SEEDS}"
            yield fault(WARNING, message, [study], own)


def fresh_seeds(results: Results) -> Iterator[Fault]:
    """A problem: a configuration that was chosen on a seed must not be judged on it."""
    for study, own in by_study(results.trials):
        confirm, search = own[own["block"] == "confirm"], own[own["block"] != "confirm"]
        stale = confirm[confirm["seed"].isin(search["seed"])]
        if len(stale):
            message = f"confirm trials on seeds of search or selection: {listed(sorted(stale['seed'].unique()))}"
            yield fault(PROBLEM, message, [study], stale)


def paired_seeds(results: Results) -> Iterator[Fault]:
    """A warning: comparisons are paired over seeds, and a seed that only one side has is lost. A configuration that has
    fewer of the same seeds is no finding here."""
    for place, trials in by_place(results.trials):
        confirm = trials[trials["block"] == "confirm"]
        sets = [set(own["seed"]) for _, own in confirm.groupby(["study", "origin"])]
        largest = max(sets, key=len, default=set())
        if any(seeds - largest for seeds in sets):
            yield fault(WARNING, "studies were confirmed on different seeds", confirm["study"], subject=place)


def added_seeds(results: Results) -> Iterator[Fault]:
    """A warning: a test repeated as seeds are added finds differences by chance more often than its level says."""
    for study, runs in results.runs.sort_values(["started_at", "run"]).groupby("study", sort=True):
        own = results.trials[(results.trials["study"] == study) & (results.trials["block"] == "confirm")]
        looked = own.loc[own["status"] == "complete", "ended_at"].min()
        before = runs.loc[runs["started_at"] <= looked, "num_seeds"].max()
        after = runs["num_seeds"].max()
        if pd.notna(before) and after > before > 0:
            text = f"seeds were raised from {before:.0f} to {after:.0f} after the first had ended"
            yield fault(WARNING, text, [study])


def duplicates(results: Results) -> Iterator[Fault]:
    """A problem: one confirm training counted several times makes every interval too narrow. A warning: search trials
    of the same configuration and seed wasted budget."""
    for study, origin, own in _confirmed(results):
        twice = own[own["seed"].duplicated(keep=False)]
        if len(twice):
            message = f"several confirm trials of {_words(origin)} on one seed: {listed(twice['trial_id'])}"
            yield fault(PROBLEM, message, [study], twice)
        rest = own[~own["seed"].duplicated(keep=False)]
        rest = rest[rest["best_valid_ppl"].notna()]
        alike = rest[rest[["best_valid_ppl", "final_valid_ppl"]].duplicated(keep=False)]
        if len(alike):
            message = f"seeds of {_words(origin)} with the same perplexities: {listed(alike['trial_id'])}"
            yield fault(PROBLEM, message, [study], alike)
    for study, own in by_study(results.trials):
        search = own[own["block"].isin(SEARCH_BLOCKS)]
        again = search[search[[*PARAMETERS, "seed"]].duplicated(keep=False)]
        if len(again):
            message = f"trials of the same configuration and seed: {listed(again['trial_id'])}"
            yield fault(WARNING, message, [study], again)


def _confirmed(results: Results) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Study, origin and its complete confirm trials."""
    trials = results.trials
    done = trials[(trials["block"] == "confirm") & (trials["status"] == "complete")]
    for (study, origin), own in done.groupby(["study", "origin"], sort=True):
        yield str(study), str(origin), own.sort_values("trial_id")


def _test_is_read(results: Results, trials: pd.DataFrame) -> np.ndarray:
    """Whether each trial has an evaluation on the test split."""
    read = results.evaluations.loc[results.evaluations["split"] == "test", TRIAL]
    return pd.MultiIndex.from_frame(trials[TRIAL]).isin(pd.MultiIndex.from_frame(read))


def _words(origin: str) -> str:
    return "the paper's recipe" if origin == PAPER_ORIGIN else origin
