"""The tables of the search: tuning gain and winner's curse; the best of n random draws and the plateau."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from analysis.measures.best_of_n import expected_best_frame, random_block
from analysis.measures.plateau import plateau
from analysis.measures.settings import ppl_by_seed, seed_trials, shortfall, tuned_origin
from analysis.measures.tuning import search_value, tuning_gain, winners_curse
from analysis.records.load import Results
from analysis.records.names import place_title, setting_name, variant_label
from analysis.records.sources import trial_keys
from analysis.records.studies import SettingStudy, studies
from analysis.stats.contrasts import Contrast
from analysis.stats.intervals import CONFIDENCE, mean_perplexity
from analysis.tables.table import (
    Cell,
    Column,
    Interval,
    Measured,
    Row,
    Table,
    Values,
    interval,
    number,
    plain,
    ratio,
    register,
)
from study.records.trials import PAPER_ORIGIN

BUDGETS = (1, 3, 10)
"""Numbers of trials for which the expected best is shown."""


@register("tuning")
def tuning(results: Results) -> Table:
    """Per setting: the paper's recipe against the tuned configuration, and the search's value against fresh seeds."""
    columns = (
        Column(title="Model", cell=plain("model"), left=True),
        Column(title="Recipe, test", cell=number("recipe_test", missing="-")),
        Column(title="Tuned, test", cell=number("tuned_test", missing="-")),
        Column(title="Tuned / recipe, test", cell=interval("gain_test_ratio", ".3f", missing="-")),
        Column(title="Tuned / recipe, valid", cell=interval("gain_valid_ratio", ".3f", missing="-")),
        Column(title="Seeds", cell=number("gain_test_seeds", "d")),
        Column(title="Search value", cell=number("search_valid", missing="-")),
        Column(title="Fresh seeds", cell=number("fresh_valid", missing="-")),
        Column(title="Winner's curse", cell=interval("curse_ratio", ".3f", missing="-")),
        Column(title="Tuned from", cell=plain("tuned_origin"), left=True),
    )
    return Table(
        name="tuning",
        title="Tuning gain and winner's curse",
        caption=(
            "Tuned / recipe: the perplexity of the tuned configuration over that of the paper's recipe, both "
            "on the same fresh seeds; below 1 where tuning helps. Winner's curse: the validation perplexity of that "
            "configuration on fresh seeds over its own value in the search; above 1, the "
            "search value was too good. (The search has the value of twenty streams read side by side, so the fresh "
            "seeds are measured like that here; Table 1 has the single-stream value.) Means over seeds of the "
            f"logarithm, with their {CONFIDENCE:.0%} t-intervals, which cover the spread between seeds and not what "
            "another search would have found."
        ),
        rows=tuple(_tuning_row(study) for study in studies(results)),
        columns=columns,
        narrow=(columns[0], *columns[2:4], columns[5], columns[7], columns[8]),
    )


def _tuning_row(study: SettingStudy) -> Row:
    origin, curse = tuned_origin(study), winners_curse(study)
    value = search_value(study, origin) if origin else None
    chosen = trial_keys(study.study, value[:1] if value else ())
    fresh = seed_trials(study, origin, curse.seeds if curse else ())
    gains = {split: tuning_gain(study, split) for split in ("test", "valid")}
    data: dict[str, Any] = {
        **study.setting._asdict(),
        "model": variant_label(study.setting.variant),
        "study": study.study,
        "tuned_origin": Measured(origin, chosen),
    }
    for kind, own in (("recipe", PAPER_ORIGIN), ("tuned", origin)):
        ppls = ppl_by_seed(study, own, "test") if own else {}
        mean = mean_perplexity(list(ppls.values()))
        data[f"{kind}_test"] = Measured(mean.mean if mean else None, seed_trials(study, own, ppls))
    for split, gain in gains.items():
        seeds = gain.seeds if gain else ()
        behind = seed_trials(study, PAPER_ORIGIN, seeds) + seed_trials(study, origin, seeds)
        data[f"gain_{split}_ratio"] = ratio(gain, behind)
        data[f"gain_{split}_seeds"] = Measured(gain.num_pairs if gain else 0, behind)
    note = _tuning_note(origin, gains["test"] or gains["valid"])
    return Row(
        name=setting_name(study.setting),
        data=data
        | {
            "search_trial": Measured(value[0] if value else None, chosen),
            "search_valid": Measured(value[1] if value else None, chosen),
            "fresh_valid": Measured(value[1] * curse.ratio if value and curse else None, fresh),
            "curse_ratio": ratio(curse, chosen + fresh),
            "curse_seeds": Measured(len(curse.seeds) if curse else 0, fresh),
        },
        section=place_title(study.setting.corpus, study.setting.size),
        notes=tuple(filter(None, [note, *shortfall(study, study.trials)])),
        dim=origin is None,
    )


def _tuning_note(origin: str | None, gain: Contrast | None) -> str:
    if origin is None:
        return "no tuned configuration is confirmed on fresh seeds"
    if origin == PAPER_ORIGIN:
        return "the paper's recipe won: there is nothing to gain"
    if gain is None:
        return "the recipe and the tuned configuration share no seed"
    return f"no interval: {gain.reason}" if gain.reason else ""


@register("search")
def search(results: Results) -> Table:
    """Per setting: the best of n random draws, the plateau in tau and gamma."""
    columns = (
        Column(title="Model", cell=plain("model"), left=True),
        Column(title="Draws", cell=number("num_draws", "d")),
        *(
            Column(title=f"Best of {n}" if n > 1 else "One trial", cell=number(f"expected_{n}", missing="-"))
            for n in BUDGETS
        ),
        Column(title="Median of one trial", cell=_bounds("median_1")),
        Column(title="Median best of 3", cell=_bounds("median_3")),
        Column(title="Draws within 1.0", cell=number("plateau_draws", ".0%")),
        Column(title="Plateau", cell=number("plateau_area", ".0%")),
    )
    return Table(
        name="search",
        title="The random block: the best of n trials",
        caption=(
            "Validation perplexity of independent draws from the search space, run to their end; a draw that diverged "
            "counts as the uniform distribution. Best of n: the expected best (Tang et al., 2020; unbiased), without "
            "an interval, since the sample cannot carry one near n = draws. Median: what the best of n falls below "
            f"every second time, with exact {CONFIDENCE:.0%} bounds from order statistics where there are enough "
            "draws (5.3 n). "
            "Draws within 1.0: share of the draws within 1.0 perplexity of the search's best. Plateau: share of the "
            "area of log(tau) and gamma whose nearest trial is."
        ),
        rows=tuple(_search_row(study) for study in studies(results)),
        columns=columns,
        narrow=columns[:5] + columns[7:],
    )


def _search_row(study: SettingStudy) -> Row:
    block, flat = random_block(study), plateau(study)
    best = expected_best_frame(block).set_index("n")
    draws, within = trial_keys(study.study, block.trial_ids), trial_keys(study.study, flat.trial_ids if flat else ())
    data: dict[str, Any] = {
        **study.setting._asdict(),
        "model": variant_label(study.setting.variant),
        "study": study.study,
        "num_draws": Measured(len(block.losses), draws),
        "num_diverged": block.num_diverged,
        "num_left_out": block.num_left_out,
    }
    for n in BUDGETS:
        found = best.loc[n].to_dict() if n in best.index else {}
        data[f"expected_{n}"] = Measured(found.get("u_ppl"), draws)
        median = (found.get(f"median_{end}") for end in ("low", "high"))
        data[f"median_{n}"] = Interval(found.get("median_ppl"), draws, *median)
    data |= {
        "plateau_draws": Measured(flat.share_random if flat else None, within),
        "plateau_area": Measured(flat.share_area if flat else None, within),
        "plateau_trials": Measured(len(flat.trial_ids) if flat else None, within),
    }
    notes = []
    if block.num_diverged:
        notes.append(f"{block.num_diverged} of {len(block.losses)} draws diverged")
    if block.num_left_out:
        notes.append(f"{block.num_left_out} draws unfinished or stopped by an error")
    return Row(
        name=setting_name(study.setting),
        data=data,
        section=place_title(study.setting.corpus, study.setting.size),
        notes=(*notes, *shortfall(study, study.trials)),
        dim=not len(block.losses),
    )


def _bounds(key: str) -> Callable[[Values], Cell]:
    """Shows the median with its bounds, or nothing if the sample is too small for bounds."""

    def found(values: Values) -> Cell:
        low = values[key].low
        return interval(key)(values) if low is not None and math.isfinite(low) else Cell("-")

    return found
