"""The tables that compare variants: contrasts, and what they owe to unequal tuning."""

from __future__ import annotations

from typing import Any

from analysis.measures.pairs import KINDS, Pair, pairs
from analysis.measures.settings import shortfall, trial_ids
from analysis.measures.tuning import Shift, tuning_debt
from analysis.records.load import Results
from analysis.records.names import variant_label
from analysis.stats.contrasts import MARGIN_PPL, Contrast, contrast, fewest_seeds, holm
from analysis.stats.intervals import CONFIDENCE
from analysis.tables.table import Column, Row, Source, Table, interval, number, p_value, plain, register, yes_no

SPLITS = ("test", "valid")
_FEW_SEEDS = fewest_seeds(1)


@register("contrasts")
def contrasts(results: Results) -> Table:
    """Every pair of variants within a corpus and size, under the paper's recipe and when both are tuned."""
    rows: list[Row] = []
    sources: list[Source] = []
    for heading, family in pairs(results):
        bare = [all(pair.lacks(kind) for kind in KINDS) for pair in family]
        for kind in KINDS:
            found = {split: [contrast(*pair.ppls(kind, split)) for pair in family] for split in SPLITS}
            adjusted = {split: holm([one.p_value if one else None for one in found[split]]) for split in SPLITS}
            for i, pair in enumerate(family):
                if bare[i] and kind != KINDS[0]:
                    continue  # one row says that there is nothing
                values: dict[str, Any] = _names(pair) | {"configuration": " and ".join(KINDS) if bare[i] else kind}
                for split in SPLITS:
                    values |= _contrast_values(split, found[split][i], adjusted[split][i])
                test = found["test"][i]
                values["equivalent"] = test.equivalent if test else None
                values["seeds"] = test.num_pairs if test else 0
                a, b = pair.a.setting, pair.b.setting
                name = f"{a.corpus}/{a.size}/{a.variant}-{b.variant}/{kind}"
                note = _lacks(pair) if bare[i] else pair.lacks(kind) or _notes(pair, kind, _shortcoming(test))
                rows.append(Row(name=name, data=values, section=heading, note=note, dim=test is None))
                for split in SPLITS:
                    one = found[split][i]
                    sources += _sources(name, f"{split}_ratio", pair, kind, one.seeds if one else ())
    columns = (
        Column(title="Comparison", text=plain("comparison"), left=True),
        Column(title="Configuration", text=plain("configuration"), left=True),
        Column(title="Test ratio", text=interval("test_ratio", ".3f", missing="-")),
        Column(title="Test difference", text=interval("test_difference", "+.1f")),
        Column(title="p", text=p_value("test_p")),
        Column(title="p, Holm", text=p_value("test_p_holm")),
        Column(title="Equivalent", text=yes_no("equivalent")),
        Column(title="Seeds", text=number("seeds", "d")),
        Column(title="Valid ratio", text=interval("valid_ratio", ".3f")),
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
        sources=tuple(sources),
    )


@register("tuning_debt")
def tuning_debts(results: Results) -> Table:
    """How much of each difference between variants the paper's recipe owes to tuning one better than the other."""
    rows: list[Row] = []
    sources: list[Source] = []
    for heading, family in pairs(results):
        debts = [_debt(pair) for pair in family]
        adjusted = holm([one.p_value if one else None for one in debts])
        for pair, debt, p_holm in zip(family, debts, adjusted, strict=True):
            name = f"{pair.a.setting.corpus}/{pair.a.setting.size}/{pair.a.setting.variant}-{pair.b.setting.variant}"
            ratios = {kind: contrast(*pair.ppls(kind, "test")) for kind in KINDS}
            values = _names(pair) | {f"{kind}_ratio": one.ratio if one else None for kind, one in ratios.items()}
            rows.append(
                Row(
                    name=name,
                    data=values | _shift_values("debt", debt) | {"p": debt.p_value if debt else None, "p_holm": p_holm},
                    section=heading,
                    note=_debt_note(pair, debt),
                    dim=debt is None,
                )
            )
            for kind, one in ratios.items():
                sources += _sources(name, f"{kind}_ratio", pair, kind, one.seeds if one else ())
                sources += _sources(name, "debt", pair, kind, debt.seeds if debt else ())
    columns = (
        Column(title="Comparison", text=plain("comparison"), left=True),
        Column(title="Ratio, recipe", text=number("recipe_ratio", ".3f", missing="-")),
        Column(title="Ratio, tuned", text=number("tuned_ratio", ".3f", missing="-")),
        Column(title="Tuning debt", text=interval("debt", ".3f", missing="-")),
        Column(title="p", text=p_value("p")),
        Column(title="p, Holm", text=p_value("p_holm")),
        Column(title="Seeds", text=number("debt_seeds", "d")),
    )
    return Table(
        name="tuning_debt",
        title="Tuning debt: what a comparison owes to unequal tuning",
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
        sources=tuple(sources),
    )


def _debt(pair: Pair) -> Shift | None:
    return tuning_debt(*pair.ppls("recipe", "test"), *pair.ppls("tuned", "test"))


def _debt_note(pair: Pair, debt: Shift | None) -> str:
    if debt is None:
        return _lacks(pair) or "no seed has a test value in all four"
    if pair.origins("recipe") == pair.origins("tuned"):
        return "the paper's recipe won both searches: there is no debt, by definition"
    return _notes(pair, "tuned", _few(debt.reason, len(debt.seeds)))


def _notes(pair: Pair, kind: str, note: str) -> str:
    """The note, and what else is amiss: searches of unequal budgets, trials shorter than the recipe's."""
    budgets = [len(study.search) for study in (pair.a, pair.b)]
    unequal = f"searches of {budgets[0]} and {budgets[1]} trials" if kind == "tuned" and len(set(budgets)) > 1 else ""
    return "; ".join(filter(None, [note, unequal, *shortfall(pair.a, pair.a.confirm)]))


def _lacks(pair: Pair) -> str:
    """What the pair lacks, each thing once."""
    kinds: dict[str, list[str]] = {}
    for kind in KINDS:
        if reason := pair.lacks(kind):
            kinds.setdefault(reason, []).append(kind)
    every = [reason if len(own) == len(KINDS) else f"{own[0]}: {reason}" for reason, own in kinds.items()]
    return "; ".join(every)


def _names(pair: Pair) -> dict[str, Any]:
    return {
        "corpus": pair.a.setting.corpus,
        "size": pair.a.setting.size,
        "comparison": pair.name,
        "a": variant_label(pair.a.setting.variant),
        "b": variant_label(pair.b.setting.variant),
    }


def _contrast_values(split: str, found: Contrast | None, p_holm: float | None) -> dict[str, Any]:
    names = ("ratio", "ratio_low", "ratio_high", "difference", "difference_low", "difference_high")
    return {
        **{f"{split}_{name}": getattr(found, name) if found else None for name in names},
        f"{split}_p": found.p_value if found else None,
        f"{split}_p_holm": p_holm,
        f"{split}_seeds": found.num_pairs if found else 0,
    }


def _shift_values(key: str, shift: Shift | None) -> dict[str, Any]:
    return {
        key: shift.ratio if shift else None,
        f"{key}_low": shift.ratio_low if shift else None,
        f"{key}_high": shift.ratio_high if shift else None,
        f"{key}_seeds": len(shift.seeds) if shift else 0,
    }


def _shortcoming(found: Contrast | None) -> str:
    return "no seed has a test value in both" if found is None else _few(found.reason, found.num_pairs)


def _few(reason: str | None, num_seeds: int) -> str:
    if reason:
        return f"no interval: {reason}"
    return f"with fewer than {_FEW_SEEDS} seeds p cannot be below .05" if num_seeds < _FEW_SEEDS else ""


def _sources(row: str, column: str, pair: Pair, kind: str, seeds: tuple[int, ...]) -> list[Source]:
    found = zip((pair.a, pair.b), pair.origins(kind), strict=True)
    return [
        Source(row, column, study.study, trial_ids(study, origin, seeds)) for study, origin in found if origin and seeds
    ]
