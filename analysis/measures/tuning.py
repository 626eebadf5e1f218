"""Tuning gain, tuning debt and winner's curse, from the fresh seeds of the confirm block.

Gain: tuned against the paper's recipe. Debt: the part of a difference between two variants that goes when both are
tuned. Curse: the search value of the winner against its fresh seeds. The intervals cover the spread between seeds, not
that another search might find another configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.measures.settings import confirmed_trials, ppl_by_seed, tuned_origin
from analysis.records.studies import SettingStudy
from analysis.stats.contrasts import Contrast, contrast, sign_flip_p
from analysis.stats.intervals import LogRatio, t_interval
from study.records.trials import PAPER_ORIGIN


@dataclass(frozen=True, kw_only=True)
class Shift(LogRatio):
    """A mean over seeds on the scale of ln(perplexity)."""

    p_value: float | None
    """Of the two-sided sign-flip test that the mean is zero; None where it is not asked for, or below two seeds."""
    reason: str | None
    """Why there is no interval."""
    seeds: tuple[int, ...]


def tuning_gain(study: SettingStudy, split: str) -> Contrast | None:
    """The tuned configuration minus the paper's recipe, paired over seeds; negative where tuning helps.

    None where nothing tuned is confirmed, no seed is shared, or the recipe itself won: then the two are
    the same trials.
    """
    origin = tuned_origin(study)
    if origin in (None, PAPER_ORIGIN):
        return None
    return contrast(ppl_by_seed(study, str(origin), split), ppl_by_seed(study, PAPER_ORIGIN, split))


def tuning_debt(
    a_recipe: Mapping[int, float],
    b_recipe: Mapping[int, float],
    a_tuned: Mapping[int, float],
    b_tuned: Mapping[int, float],
) -> Shift | None:
    """(a - b) under the paper's recipe minus (a - b) when both are tuned, on ln(perplexity), paired over seeds.

    Negative where the recipe makes a look better against b than equal tuning does: that part of a's lead is due to
    tuning. None without a seed that all four have.

    Args:
        a_recipe: seed -> perplexity of a under the recipe.
        b_recipe: seed -> perplexity of b under the recipe.
        a_tuned: seed -> perplexity of a when tuned.
        b_tuned: seed -> perplexity of b when tuned.

    Raises:
        ValueError: if a perplexity is not a finite positive number.
    """
    seeds = sorted(set(a_recipe) & set(b_recipe) & set(a_tuned) & set(b_tuned))
    if not seeds:
        return None
    log = [{seed: _log(one[seed]) for seed in seeds} for one in (a_recipe, b_recipe, a_tuned, b_tuned)]
    values = [log[0][seed] - log[1][seed] - (log[2][seed] - log[3][seed]) for seed in seeds]
    mean, _, low, high, reason = t_interval(values)
    p_value = sign_flip_p(values) if len(values) > 1 else None
    return Shift(mean=mean, low=low, high=high, p_value=p_value, reason=reason, seeds=tuple(seeds))


def winners_curse(study: SettingStudy) -> Shift | None:
    """The tuned configuration on fresh seeds minus its own value in the search; positive where the search flattered.

    Both are the best epoch's validation perplexity: the search has no single-stream value. The search value is the
    one that was selected and has no spread of its own here, so the interval is that of the fresh seeds' mean. None
    where nothing tuned is confirmed.
    """
    origin = tuned_origin(study)
    if origin is None or (value := search_value(study, origin)) is None:
        return None
    done = confirmed_trials(study, origin)
    fresh = {
        int(seed): float(ppl)
        for seed, ppl in zip(done["seed"], done["best_valid_ppl"].astype(float), strict=True)
        if math.isfinite(ppl)
    }
    if not fresh:
        return None
    mean, _, low, high, reason = t_interval([_log(fresh[seed]) - _log(value[1]) for seed in sorted(fresh)])
    return Shift(mean=mean, low=low, high=high, p_value=None, reason=reason, seeds=tuple(sorted(fresh)))


def search_value(study: SettingStudy, origin: str) -> tuple[str, float] | None:
    """The search trial behind a confirmed origin and its best validation perplexity; ``paper`` is the default trial."""
    search = study.search[study.search["status"] == "complete"]
    is_own = search["block"] == "default" if origin == PAPER_ORIGIN else search["trial_id"] == origin
    own = search[is_own & search["best_valid_ppl"].notna()]
    return None if own.empty else (str(own["trial_id"].iloc[0]), float(own["best_valid_ppl"].iloc[0]))


def _log(ppl: float) -> float:
    if not (math.isfinite(ppl) and ppl > 0):
        raise ValueError(f"a perplexity must be a finite positive number, got {ppl!r}")
    return math.log(ppl)
