"""Health of a search: its ranges, failures, random draws and early stopping."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.health.check import PROBLEM, WARNING, Fault, by_place, by_study, fault, listed
from analysis.parameters import on_scale
from analysis.records.load import Results
from analysis.records.trials import best_of_search, diverged, protected
from analysis.stats.contrasts import MARGIN_PPL
from analysis.stats.importance import MIN_DRAWS as DRAWS_FOR_IMPORTANCE
from study.records.parameters import CATEGORICAL, INTEGER, PARAMETERS
from study.records.trials import SEARCH_BLOCKS

EDGE = 0.02
"""Share of a range that counts as its edge. By chance the best configuration lies at one of the two edges of one of
eight parameters in about a quarter of all studies: one such finding is no alarm, the same in several is."""
MIN_DRAWS = 20
"""Fewest random draws that show the ends of a range: 20 leave about a twentieth of it out at either end."""
MANY, MOST = 0.1, 0.5
"""Shares of diverged trials that make a warning and a problem."""


def edges(results: Results) -> Iterator[Fault]:
    """A warning: better configurations may lie outside.

    The ranges are those of the random draws of a corpus and size, all variants together; the best of the search is at
    the edge if it lies in the last 2 % of it or beyond, on the scale it is drawn on; of a whole number, at its end.
    The paper's recipe is no finding of a search.
    """
    for _, trials in by_place(results.trials):
        drawn = trials[trials["block"] == "random"]
        for study, own in by_study(trials):
            done = best_of_search(own)
            if done.empty or done["block"].iloc[0] == "default":
                continue
            best = done.iloc[0]
            for name, parameter in PARAMETERS.items():
                if parameter.scale != CATEGORICAL and pd.notna(best[name]):
                    side = _edge(name, drawn[name].dropna(), float(best[name]))
                    if side:
                        ends = f"{drawn[name].min():.3g} to {drawn[name].max():.3g}"
                        message = f"the best trial has {name} = {best[name]:.3g}, at the {side} edge of {ends}"
                        yield fault(WARNING, message, [study], done.head(1))


def _edge(name: str, drawn: pd.Series, value: float) -> str:
    if len(drawn) < MIN_DRAWS or drawn.nunique() < 2:
        return ""
    scaled, at = on_scale(name, drawn), float(on_scale(name, pd.Series([value])).iloc[0])
    low, high = float(scaled.min()), float(scaled.max())
    margin = 0.0 if PARAMETERS[name].scale == INTEGER else EDGE * (high - low)
    return "lower" if at <= low + margin else "upper" if at >= high - margin else ""


def failures(results: Results) -> Iterator[Fault]:
    """Diverged search trials: a warning from a tenth on, since the space wastes the budget; a problem from half on,
    since the search hardly took place. Trials that died of an error: a warning, they are missing."""
    for study, own in by_study(results.trials):
        search = own[own["block"].isin(SEARCH_BLOCKS) & (own["status"] != "interrupted")]
        lost = search[diverged(search)]
        share = len(lost) / len(search) if len(search) else 0.0
        if len(lost) > 1 and share >= MANY:
            message = f"trials of the search that diverged: {len(lost)} of {len(search)}"
            yield fault(PROBLEM if share >= MOST else WARNING, message, [study], lost)
        died = own[(own["status"] == "failed") & (own["stopped_by"] == "error")]
        if len(died):
            errors = [str(text).strip().splitlines()[-1] for text in died["error"].dropna() if str(text).strip()]
            message = f"trials that died of an error: {len(died)} ({next(iter(errors), 'no message')})"
            yield fault(WARNING, message, [study], died)


def random_draws(results: Results) -> Iterator[Fault]:
    """A warning: of fewer draws the report shows no importance of the parameters."""
    for study, own in by_study(results.trials):
        drawn = own[(own["block"] == "random") & (own["status"] == "complete")]
        if (own["block"] == "random").any() and len(drawn) < DRAWS_FOR_IMPORTANCE:
            message = f"complete random draws: {len(drawn)}, importance takes {DRAWS_FOR_IMPORTANCE}"
            yield fault(WARNING, message, [study])


def early_stopping(results: Results) -> Iterator[Fault]:
    """A warning: of the trials that ASHA would have stopped and could not (the paper's recipe, random draws, and the
    audit arm of the tpe block), some ended within 1.0 perplexity of the best; so may have some that it did stop."""
    for study, own in by_study(results.trials):
        done = best_of_search(own)
        doomed = done[protected(done) & done["would_stop_epoch"].notna()]
        good = doomed[doomed["best_valid_ppl"] < done["best_valid_ppl"].min() + MARGIN_PPL]
        if len(good):
            num_pruned = int((own["status"] == "pruned").sum())
            yield fault(
                WARNING,
                f"trials that ASHA was kept from stopping and that ended within {MARGIN_PPL} perplexity of the best: "
                f"{len(good)} of {len(doomed)} ({listed(good['trial_id'])}); those that it stopped: {num_pruned}",
                [study],
                good,
            )
