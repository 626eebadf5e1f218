"""The tables about the search itself: what it brought, and what its random block says of the space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from analysis.measures.best_of_n import RandomBlock, crossing_budget, expected_best_frame, random_block
from analysis.measures.sensitivity import plateau
from analysis.measures.settings import (
    PAPER_ORIGIN,
    SettingStudy,
    comparable,
    confirmed_trials,
    ppl_by_seed,
    settings_with_records,
    shortfall,
    study_of,
    trial_ids,
    tuned_origin,
)
from analysis.measures.tuning import search_value, tuning_gain, winners_curse
from analysis.records.load import Results
from analysis.records.names import place_title, setting_name, variant_label
from analysis.stats.contrasts import Contrast
from analysis.stats.intervals import CONFIDENCE, mean_perplexity
from analysis.tables.table import Column, Row, Source, Table, Values, interval, is_missing, number, plain, register
from study.records.records import Setting
from trainables.recipes import VARIANTS

BUDGETS = (1, 3, 10)
"""Numbers of trials for which the expected best is shown."""


def _studies(results: Results) -> Iterator[SettingStudy]:
    found = (study_of(results, setting) for setting in settings_with_records(results))
    yield from (study for study in found if study is not None)


@register("tuning")
def tuning(results: Results) -> Table:
    """Per setting: the paper's recipe against the tuned configuration, and the search's value against fresh seeds."""
    rows = [_tuning_row(study) for study in _studies(results)]
    columns = (
        Column(title="Model", text=plain("model"), left=True),
        Column(title="Recipe, test", text=number("recipe_test", missing="-")),
        Column(title="Tuned, test", text=number("tuned_test", missing="-")),
        Column(title="Tuned / recipe, test", text=interval("gain_test_ratio", ".3f", missing="-")),
        Column(title="Tuned / recipe, valid", text=interval("gain_valid_ratio", ".3f", missing="-")),
        Column(title="Seeds", text=number("gain_test_seeds", "d")),
        Column(title="Search value", text=number("search_valid", missing="-")),
        Column(title="Fresh seeds", text=number("fresh_valid", missing="-")),
        Column(title="Winner's curse", text=interval("curse_ratio", ".3f", missing="-")),
        Column(title="Tuned from", text=plain("tuned_origin"), left=True),
    )
    return Table(
        name="tuning",
        title="What tuning brings, and how far a search flatters",
        caption=(
            "Tuned / recipe: the perplexity of the search's best configuration over that of the paper's recipe, both "
            "on the same fresh seeds; below 1 where tuning helps. Winner's curse: the validation perplexity of that "
            "configuration on fresh seeds over its own value in the search, by which it was selected; above 1, the "
            "search value was too good. (The search has the value of twenty streams read side by side, so the fresh "
            "seeds are measured like that here; Table 1 has the single-stream value.) Means over seeds of the "
            f"logarithm, with their {CONFIDENCE:.0%} t-intervals, which cover the spread between seeds and not what "
            "another search would have found."
        ),
        rows=tuple(row for row, _ in rows),
        columns=columns,
        narrow=(columns[0], *columns[2:4], columns[5], columns[7], columns[8]),
        sources=tuple(source for _, sources in rows for source in sources),
    )


def _tuning_row(study: SettingStudy) -> tuple[Row, list[Source]]:
    name, origin = setting_name(study.setting), tuned_origin(study)
    gains = {split: tuning_gain(study, split) for split in ("test", "valid")}
    curse = winners_curse(study)
    value = search_value(study, origin) if origin else None
    means = {
        kind: mean_perplexity(list(ppl_by_seed(study, own, "test").values())) if own else None
        for kind, own in (("recipe", PAPER_ORIGIN), ("tuned", origin))
    }
    data: dict[str, Any] = {
        **study.setting._asdict(),
        "model": variant_label(study.setting.variant),
        "study": study.study,
        "tuned_origin": origin,
        **{f"{kind}_test": mean.mean if mean else None for kind, mean in means.items()},
    }
    for split, gain in gains.items():
        data |= _gain_values(f"gain_{split}", gain)
    data |= {
        "search_trial": value[0] if value else None,
        "search_valid": value[1] if value else None,
        "fresh_valid": value[1] * curse.ratio if value and curse else None,
        "curse_ratio": curse.ratio if curse else None,
        "curse_ratio_low": curse.ratio_low if curse else None,
        "curse_ratio_high": curse.ratio_high if curse else None,
        "curse_seeds": len(curse.seeds) if curse else 0,
    }
    gain = gains["test"] or gains["valid"]
    note = ""
    if origin is None:
        note = "no tuned configuration is confirmed on fresh seeds"
    elif origin == PAPER_ORIGIN:
        note = "the paper's recipe won the search: there is nothing to gain"
    elif gain is None:
        note = "the recipe and the tuned configuration share no seed"
    elif gain.reason:
        note = f"no interval: {gain.reason}"
    note = "; ".join(filter(None, [note, *shortfall(study, study.trials)]))
    sources = [
        Source(name, f"gain_{split}_ratio", study.study, trial_ids(study, own, found.seeds))
        for split, found in gains.items()
        if found
        for own in (PAPER_ORIGIN, str(origin))
    ]
    sources += [
        Source(name, f"{kind}_test", study.study, " ".join(confirmed_trials(study, own)["trial_id"]))
        for kind, own in (("recipe", PAPER_ORIGIN), ("tuned", origin))
        if own and means[kind]
    ]
    if value and curse and origin:
        fresh = " ".join(confirmed_trials(study, origin)["trial_id"])
        sources.append(Source(name, "curse_ratio", study.study, f"{value[0]} {fresh}"))
    row = Row(
        name=name,
        data=data,
        section=place_title(study.setting.corpus, study.setting.size),
        note=note,
        dim=origin is None,
    )
    return row, sources


def _gain_values(key: str, gain: Contrast | None) -> dict[str, Any]:
    return {
        f"{key}_ratio": gain.ratio if gain else None,
        f"{key}_ratio_low": gain.ratio_low if gain else None,
        f"{key}_ratio_high": gain.ratio_high if gain else None,
        f"{key}_seeds": gain.num_pairs if gain else 0,
    }


@register("search")
def search(results: Results) -> Table:
    """Per setting: the best of n random draws, the budget that turns the order round, the plateau in tau and gamma."""
    rows = [_search_row(results, study) for study in _studies(results)]
    columns = (
        Column(title="Model", text=plain("model"), left=True),
        Column(title="Draws", text=number("num_draws", "d")),
        *(
            Column(title=f"Best of {n}" if n > 1 else "One trial", text=number(f"expected_{n}", missing="-"))
            for n in BUDGETS
        ),
        Column(title="Median of one trial", text=_bounds("median_1")),
        Column(title="Median best of 3", text=_bounds("median_3")),
        Column(title="Ahead from", text=plain("ahead_from")),
        Column(title="Draws within 1.0", text=number("plateau_draws", ".0%")),
        Column(title="Plateau", text=number("plateau_area", ".0%")),
    )
    return Table(
        name="search",
        title="The random block: the best of n trials",
        caption=(
            "Validation perplexity of independent draws from the search space, run to their end; a draw that diverged "
            "counts as the uniform distribution. Best of n: the expected best (Tang et al., 2020; unbiased), without "
            "an interval, since the sample cannot carry one near n = draws. Median: what the best of n falls below "
            f"every second time, with exact {CONFIDENCE:.0%} bounds from order statistics where there are enough "
            "draws (5.3 n). Ahead from: the number of trials from which on the expected best is below the baseline's. "
            "Draws within 1.0: share of the draws within 1.0 perplexity of the search's best. Plateau: share of the "
            "area of log(tau) and gamma whose nearest trial is."
        ),
        rows=tuple(row for row, _ in rows),
        columns=columns,
        narrow=columns[:5] + columns[7:],
        sources=tuple(source for _, sources in rows for source in sources),
    )


def _search_row(results: Results, study: SettingStudy) -> tuple[Row, list[Source]]:
    name, block, flat = setting_name(study.setting), random_block(study), plateau(study)
    best = expected_best_frame(block).set_index("n")
    data: dict[str, Any] = {
        **study.setting._asdict(),
        "model": variant_label(study.setting.variant),
        "study": study.study,
        "num_draws": len(block.losses),
        "num_diverged": block.num_diverged,
        "num_left_out": block.num_left_out,
    }
    for n in BUDGETS:
        found = best.loc[n].to_dict() if n in best.index else {}
        data |= {
            f"expected_{n}": found.get("u_ppl"),
            **{f"median_{n}{end}": found.get(f"median_{end.strip('_') or 'ppl'}") for end in ("", "_low", "_high")},
        }
    data |= {
        "ahead_from": _ahead_from(results, study, block),
        "plateau_draws": flat.share_random if flat else None,
        "plateau_area": flat.share_area if flat else None,
        "plateau_trials": flat.num_within if flat else None,
    }
    notes = []
    if block.num_diverged:
        notes.append(f"{block.num_diverged} of {len(block.losses)} draws diverged")
    if block.num_left_out:
        notes.append(f"{block.num_left_out} draws unfinished or stopped by an error")
    notes += shortfall(study, study.trials)
    sources = []
    if block.trial_ids:
        columns = [f"expected_{n}" for n in BUDGETS if data[f"expected_{n}"] is not None]
        sources = [Source(name, column, study.study, " ".join(block.trial_ids)) for column in columns]
    if flat:
        sources.append(Source(name, "plateau_area", study.study, " ".join(flat.trial_ids)))
    heading = place_title(study.setting.corpus, study.setting.size)
    return Row(name=name, data=data, section=heading, note="; ".join(notes), dim=not len(block.losses)), sources


def _ahead_from(results: Results, study: SettingStudy, block: RandomBlock) -> str | None:
    """The crossing budget against the baseline, for people; None for the baseline itself and where either is bare."""
    baseline = next(iter(VARIANTS))
    other = study_of(results, Setting(study.setting.corpus, study.setting.size, baseline))
    if study.setting.variant == baseline or other is None or comparable(study, other):
        return None
    theirs = random_block(other).losses
    if not len(block.losses) or not len(theirs):
        return None
    budget = crossing_budget(block.losses, theirs)
    return f"not up to {min(len(block.losses), len(theirs))}" if budget is None else str(budget)


def _bounds(key: str) -> Any:
    """The median and its bounds; without bounds it is not shown, for the sample cannot carry it."""

    def text(values: Values) -> str:
        known = not is_missing(values.get(f"{key}_low")) and math.isfinite(values[f"{key}_low"])
        return interval(key)(values) if known else "-"

    return text
