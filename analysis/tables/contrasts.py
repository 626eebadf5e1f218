"""The tables that compare variants: contrasts and tuning debt."""

from __future__ import annotations

from typing import Any

from analysis.measures.pairs import KINDS, Pair, pairs
from analysis.measures.settings import shortfall
from analysis.measures.tuning import Shift, tuning_debt
from analysis.records.load import Results
from analysis.records.names import variant_label
from analysis.stats.contrasts import MARGIN_PPL, Contrast, contrast, fewest_seeds, holm
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.table import (
    Column,
    Interval,
    Measured,
    Row,
    Table,
    Values,
    interval,
    number,
    p_value,
    plain,
    ratio,
    register,
    yes_no,
)

SPLITS = ("test", "valid")
_FEW_SEEDS = fewest_seeds(1)


@register("contrasts")
def contrasts(results: Results) -> Table:
    """Every pair of variants within a corpus and size, under the paper's recipe and when both are tuned."""
    rows: list[Row] = []
    for heading, family in pairs(results):
        bare = [all(pair.lacks(kind) for kind in KINDS) for pair in family]
        for kind in KINDS:
            found = {split: [contrast(*pair.ppls(kind, split)) for pair in family] for split in SPLITS}
            adjusted = {split: holm([one.p_value if one else None for one in found[split]]) for split in SPLITS}
            for i, pair in enumerate(family):
                if bare[i] and kind != KINDS[0]:
                    continue  # one row for both configurations
                values: dict[str, Any] = _names(pair) | {"configuration": " and ".join(KINDS) if bare[i] else kind}
                for split in SPLITS:
                    values |= _contrast_values(split, pair, kind, found[split][i], adjusted[split][i])
                test = found["test"][i]
                seeds: Measured = values["test_seeds"]
                values |= {"equivalent": Measured(test.equivalent if test else None, seeds.trials), "seeds": seeds}
                lacks = pair.lacks(kind)
                notes = _lacks(pair) if bare[i] else (lacks,) if lacks else _notes(pair, kind, _shortcoming(test))
                name = f"{_name(pair)}/{kind}"
                rows.append(Row(name=name, data=values, section=heading, notes=notes, dim=test is None))
    columns = (
        Column(title="Comparison", cell=plain("comparison"), left=True),
        Column(title="Configuration", cell=plain("configuration"), left=True),
        Column(title="Test ratio", cell=interval("test_ratio", ".3f", missing="-")),
        Column(title="Test difference", cell=interval("test_difference", "+.1f")),
        Column(title="p", cell=p_value("test_p")),
        Column(title="p, Holm", cell=p_value("test_p_holm")),
        Column(title="Equivalent", cell=yes_no("equivalent")),
        Column(title="Seeds", cell=number("seeds", "d")),
        Column(title="Valid ratio", cell=interval("valid_ratio", ".3f")),
    )
    return Table(
        name="contrasts",
        title="Contrasts between variants",
        caption=(
            "A / B: the perplexity of A over that of B, below 1 where A is better: exp of the mean over seeds of "
            f"ln(A) - ln(B), each seed a pair, with its {CONFIDENCE:.0%} t-interval. The difference is the same in "
            "perplexity at B's level. p: exact two-sided sign-flip test; with n seeds it cannot be below 2 / 2^n. "
            "Holm: adjusted for the comparisons of one corpus, size and configuration, validation and test each a "
            f"family of their own. Equivalent: the interval of the difference lies within {MARGIN_PPL} perplexity of "
            "zero; not being equivalent is no proof of a difference. The intervals cover the spread between seeds, "
            "not what another search would have found."
        ),
        rows=tuple(rows),
        columns=columns,
        narrow=(columns[0], columns[1], columns[2], *columns[4:8]),
    )


@register("tuning_debt")
def tuning_debts(results: Results) -> Table:
    """The part of each difference between variants that goes when both are tuned."""
    rows: list[Row] = []
    for heading, family in pairs(results):
        debts = [_debt(pair) for pair in family]
        adjusted = holm([one.p_value if one else None for one in debts])
        for pair, debt, p_holm in zip(family, debts, adjusted, strict=True):
            values = _names(pair)
            for kind in KINDS:
                one = contrast(*pair.ppls(kind, "test"))
                values[f"{kind}_ratio"] = Measured(
                    one.ratio if one else None, pair.trials(kind, one.seeds if one else ())
                )
            seeds = debt.seeds if debt else ()
            behind = pair.trials("recipe", seeds) + pair.trials("tuned", seeds)
            values |= {
                "debt": ratio(debt, behind),
                "debt_seeds": Measured(len(debt.seeds) if debt else 0, behind),
                "p": Measured(debt.p_value if debt else None, behind),
                "p_holm": Measured(p_holm, behind),
            }
            rows.append(
                Row(name=_name(pair), data=values, section=heading, notes=_debt_notes(pair, debt), dim=debt is None)
            )
    columns = (
        Column(title="Comparison", cell=plain("comparison"), left=True),
        Column(title="Ratio, recipe", cell=number("recipe_ratio", ".3f", missing="-")),
        Column(title="Ratio, tuned", cell=number("tuned_ratio", ".3f", missing="-")),
        Column(title="Tuning debt", cell=interval("debt", ".3f", missing="-")),
        Column(title="p", cell=p_value("p")),
        Column(title="p, Holm", cell=p_value("p_holm")),
        Column(title="Seeds", cell=number("debt_seeds", "d")),
    )
    return Table(
        name="tuning_debt",
        title="Tuning debt: the part of a comparison that is due to unequal tuning",
        caption=(
            "A / B: the test perplexity of A over that of B, under the paper's recipe and when both are tuned with the "
            "same budget. The debt is the first ratio over the second, over the seeds that all four share: below 1, "
            "the recipe makes A look better against B than equal tuning does; 1, tuning changes nothing. Mean over "
            f"seeds of the logarithm, with its {CONFIDENCE:.0%} t-interval; p: exact two-sided sign-flip test, "
            "adjusted by Holm within a corpus and size."
        ),
        rows=tuple(rows),
        columns=columns,
        narrow=columns,
    )


def _debt(pair: Pair) -> Shift | None:
    return tuning_debt(*pair.ppls("recipe", "test"), *pair.ppls("tuned", "test"))


def _debt_notes(pair: Pair, debt: Shift | None) -> tuple[str, ...]:
    if debt is None:
        return _lacks(pair) or ("no seed has a test value in all four",)
    if pair.origins("recipe") == pair.origins("tuned"):
        return ("the paper's recipe won both searches: there is no debt, by definition",)
    return _notes(pair, "tuned", _few(debt.reason, len(debt.seeds)))


def _notes(pair: Pair, kind: str, note: str) -> tuple[str, ...]:
    """The note, searches of unequal budgets, trials shorter than the recipe's."""
    budgets = [len(study.search) for study in (pair.a, pair.b)]
    unequal = f"searches of {budgets[0]} and {budgets[1]} trials" if kind == "tuned" and len(set(budgets)) > 1 else ""
    return tuple(filter(None, [note, unequal, *shortfall(pair.a, pair.a.confirm)]))


def _lacks(pair: Pair) -> tuple[str, ...]:
    """Why the pair cannot be compared, each reason once."""
    kinds: dict[str, list[str]] = {}
    for kind in KINDS:
        if reason := pair.lacks(kind):
            kinds.setdefault(reason, []).append(kind)
    return tuple(reason if len(own) == len(KINDS) else f"{own[0]}: {reason}" for reason, own in kinds.items())


def _name(pair: Pair) -> str:
    a, b = pair.a.setting, pair.b.setting
    return f"{a.corpus}/{a.size}/{a.variant}-{b.variant}"


def _names(pair: Pair) -> dict[str, Any]:
    return {
        "corpus": pair.a.setting.corpus,
        "size": pair.a.setting.size,
        "comparison": pair.name,
        "a": variant_label(pair.a.setting.variant),
        "b": variant_label(pair.b.setting.variant),
    }


def _contrast_values(split: str, pair: Pair, kind: str, found: Contrast | None, p_holm: float | None) -> Values:
    behind, difference = pair.trials(kind, found.seeds if found else ()), Interval()
    if found:
        difference = Interval(found.difference, behind, found.difference_low, found.difference_high)
    return {
        f"{split}_ratio": ratio(found, behind),
        f"{split}_difference": difference,
        f"{split}_p": Measured(found.p_value if found else None, behind),
        f"{split}_p_holm": Measured(p_holm, behind),
        f"{split}_seeds": Measured(found.num_pairs if found else 0, behind),
    }


def _shortcoming(found: Contrast | None) -> str:
    return "no seed has a test value in both" if found is None else _few(found.reason, found.num_pairs)


def _few(reason: str | None, num_seeds: int) -> str:
    if reason:
        return f"no interval: {reason}"
    return f"with fewer than {_FEW_SEEDS} seeds p cannot be below .05" if num_seeds < _FEW_SEEDS else ""
