"""Estimates of one setting (corpus x size x variant): its perplexity under the paper's recipe and when tuned.

The tuned configuration is chosen by validation perplexity alone. The test split enters only as a value to report.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.records.sources import TrialKey, keys_of
from analysis.records.studies import SettingStudy
from analysis.records.trials import best_of_search, measured
from analysis.stats.intervals import MeanPerplexity, mean_perplexity
from study.records.trials import PAPER_ORIGIN, select_winner
from trainables.recipes import SIZES

NOT_CONFIRMED = "search value, not confirmed"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Perplexities of one configuration with their intervals."""

    origin: str
    """``paper``, or the search trial whose configuration it is."""
    confirmed: bool
    """Whether it rests on fresh seeds (the confirm block) or on a single trial of the search."""
    valid: MeanPerplexity | None
    test: MeanPerplexity | None
    trial_ids: tuple[str, ...]
    """The trials behind ``valid``."""
    test_trial_ids: tuple[str, ...] = ()
    """The trials behind ``test``."""
    missing: tuple[str, ...] = ()
    """Shortcomings of the estimate, a phrase each."""


def recipe_estimate(study: SettingStudy) -> Estimate | None:
    """The setting under the paper's recipe: its confirm trials, else the search's default trial, else None."""
    if (confirmed := _confirmed(study, PAPER_ORIGIN)) is not None:
        return confirmed
    return _search_value(study, study.search[study.search["block"] == "default"])


def tuned_estimate(study: SettingStudy) -> Estimate | None:
    """The setting when tuned: the configuration that ``tuned_origin`` names, on its confirm trials.

    Where nothing is confirmed, the lowest validation perplexity of the search; None if there is none.
    """
    search, origin = best_of_search(study.search), tuned_origin(study)
    if origin is None or (found := _confirmed(study, origin)) is None:
        return _search_value(study, study.search if search.empty else search)
    extra = []
    if study.select.empty and origin != PAPER_ORIGIN and search["trial_id"].iloc[0] != origin:
        extra.append(f"the best of the search, {search['trial_id'].iloc[0]}, is not confirmed")
    if search.loc[search["trial_id"] == origin, "block"].eq("default").any() or origin == PAPER_ORIGIN:
        extra.append("the paper's recipe won")
    return replace(found, missing=(*found.missing, *extra))


def tuned_origin(study: SettingStudy) -> str | None:
    """The confirmed origin that stands for the tuned setting: the winner of the select block. None before there is one.

    In a study without that block, run before it existed, the best of the search that was confirmed.
    """
    if "tuned_origin" not in study.memo:
        study.memo["tuned_origin"] = _tuned_origin(study)
    return study.memo["tuned_origin"]


def _tuned_origin(study: SettingStudy) -> str | None:
    if not study.select.empty:
        origin = _winner(study.select)
        return origin if origin is not None and ppl_by_seed(study, origin, "valid") else None
    origins = set(study.confirm.loc[study.confirm["status"] == "complete", "origin"])
    search = best_of_search(study.search)
    for position, (trial_id, block) in enumerate(zip(search["trial_id"], search["block"], strict=True)):
        origin = trial_id if trial_id in origins or block != "default" else PAPER_ORIGIN
        if origin not in origins or (position and origin == PAPER_ORIGIN):
            continue  # the recipe counts as tuned only if it won the search itself
        if ppl_by_seed(study, origin, "valid"):
            return origin
    return None


def _winner(select: pd.DataFrame) -> str | None:
    """The winner of the select block; None while a trial of it has not ended or only the recipe has been trained."""
    if select["status"].eq("interrupted").any() or select["origin"].nunique() < 2:
        return None
    ppl = select["best_valid_ppl"].astype(float).where(select["status"] == "complete")
    return select_winner({str(origin): list(own) for origin, own in ppl.groupby(select["origin"])})


def confirmed_trials(study: SettingStudy, origin: str) -> pd.DataFrame:
    """The complete confirm trials of one origin, by trial id."""
    if ("confirmed", origin) not in study.memo:
        own = study.confirm[(study.confirm["origin"] == origin) & (study.confirm["status"] == "complete")]
        study.memo["confirmed", origin] = own.sort_values("trial_id")
    return study.memo["confirmed", origin]


def ppl_by_seed(study: SettingStudy, origin: str, split: str) -> dict[int, float]:
    """Seed -> perplexity of the complete confirm trials of one origin, where there is a finite one.

    Args:
        study: the study.
        origin: ``paper``, or the search trial whose configuration was confirmed.
        split: ``valid`` (the single-stream value, else the best epoch's) or ``test``.

    Raises:
        ValueError: if ``split`` is another.
    """
    if ("ppl", origin, split) not in study.memo:
        study.memo["ppl", origin, split] = _ppl_by_seed(study, origin, split)
    return dict(study.memo["ppl", origin, split])


def _ppl_by_seed(study: SettingStudy, origin: str, split: str) -> dict[int, float]:
    done = confirmed_trials(study, origin)
    ppls = _ppl(study, done, split)
    return {int(seed): float(ppl) for seed, ppl in zip(done["seed"], ppls, strict=True) if np.isfinite(ppl)}


def seed_trials(study: SettingStudy, origin: str | None, seeds: Collection[int]) -> tuple[TrialKey, ...]:
    """The complete confirm trials of one origin with these seeds; none without an origin."""
    done = confirmed_trials(study, origin) if origin else study.confirm.iloc[:0]
    return keys_of(done[done["seed"].isin(list(seeds))])


def _ppl(study: SettingStudy, done: pd.DataFrame, split: str) -> pd.Series:
    if split not in ("valid", "test"):
        raise ValueError(f"split must be valid or test, got {split!r}")
    ppl = measured(study.evaluations, done, split)
    return ppl.fillna(done["best_valid_ppl"].astype(float)) if split == "valid" else ppl


def shortfall(study: SettingStudy, trials: pd.DataFrame) -> list[str]:
    """A phrase if the trials are shorter than the recipe's full length, else nothing."""
    full = SIZES[study.setting.size].max_epochs if study.setting.size in SIZES else None
    length = trials["max_epochs"].max()
    return [f"trials of {length:.0f} epochs, the full length is {full}"] if full is not None and length < full else []


def _by_validation(search: pd.DataFrame) -> pd.DataFrame:
    usable = search[(search["status"] != "failed") & np.isfinite(search["best_valid_ppl"].astype(float))]
    return usable.sort_values(["best_valid_ppl", "trial_id"], kind="stable")


def _search_value(study: SettingStudy, trials: pd.DataFrame) -> Estimate | None:
    usable = _by_validation(trials)
    if usable.empty:
        return None
    best = usable.iloc[0]
    missing = [NOT_CONFIRMED, *shortfall(study, usable.iloc[:1])]
    if best["status"] == "interrupted":
        missing.append(f"{best['trial_id']} stands at {best['num_epochs']:.0f} of {best['max_epochs']:.0f} epochs")
    elif best["status"] == "pruned":
        missing.append(f"{best['trial_id']} was pruned after {best['num_epochs']:.0f} epochs")
    return Estimate(
        origin=best["trial_id"],
        confirmed=False,
        valid=mean_perplexity([best["best_valid_ppl"]]),
        test=None,
        trial_ids=(best["trial_id"],),
        missing=tuple(missing),
    )


def _confirmed(study: SettingStudy, origin: str) -> Estimate | None:
    """The estimate from the complete confirm trials of one origin; None without any."""
    own = study.confirm[study.confirm["origin"] == origin].sort_values("trial_id")
    done = own[own["status"] == "complete"]
    valid_ppl, test_ppl = (ppl[np.isfinite(ppl)] for ppl in (_ppl(study, done, s) for s in ("valid", "test")))
    if valid_ppl.empty:
        return None
    planned = max(study.num_seeds or 0, len(own))
    missing = []
    if len(done) < planned:
        counts = own["status"].value_counts()
        named = (("failed", "failed"), ("interrupted", "unfinished"), ("pruned", "pruned"))
        rest = [f"{counts[status]} {word}" for status, word in named if status in counts]
        missing.append(f"{len(done)} of {planned} seeds" + (f" ({', '.join(rest)})" if rest else ""))
    if len(valid_ppl) == 1:
        missing.append("no interval from one seed")
    if len(test_ppl) < len(valid_ppl):
        missing.append(f"test read for {len(test_ppl)} of {len(valid_ppl)} seeds")
    return Estimate(
        origin=origin,
        confirmed=True,
        valid=mean_perplexity(list(valid_ppl)),
        test=mean_perplexity(list(test_ppl)),
        trial_ids=tuple(done.loc[valid_ppl.index, "trial_id"]),
        test_trial_ids=tuple(done.loc[test_ppl.index, "trial_id"]),
        missing=(*missing, *shortfall(study, done)),
    )
