"""Contrasts and tuning debt: every pair, its family, and what is said where there is no comparison."""

from __future__ import annotations

import math

import pytest

from analysis.records.sources import by_study
from analysis.stats.contrasts import contrast, holm
from analysis.tables.contrasts import contrasts, tuning_debts
from analysis.tables.table import Row, Table
from study.records.records import Setting
from tests.support.frames import confirmed
from tests.support.memory import Row as Record
from tests.support.memory import name_of, results, trial

BASE, AL, REAL = (Setting("toy", "tiny", variant) for variant in ("baseline", "al", "real"))
LEVELS = {BASE: (100.0, 90.0), AL: (95.0, 89.9), REAL: (91.0, 85.0)}
WOBBLE = {BASE: (0, 1, -1, 0.5), AL: (0.2, 0.8, -1.1, 0.3), REAL: (0.4, 1.5, -0.6, 0.1)}


def study(setting: Setting, *, tuned: bool = True, **columns: object) -> list[Record]:
    """Four seeds of the recipe and of the tuned configuration; test perplexities are a tenth lower."""
    recipe, best = LEVELS[setting]
    rows = [trial(setting, "default-0000", recipe, **columns), trial(setting, "tpe-0001", best - 1, **columns)]
    for origin, level in (("paper", recipe), ("tpe-0001", best))[: 1 + tuned]:
        ppls = [level + wobble for wobble in WOBBLE[setting]]
        rows += confirmed(setting, origin, ppls, tests=[0.9 * ppl for ppl in ppls], **columns)
    return rows


def read_of(setting: Setting, tuned: bool) -> dict[int, float]:
    return {101 + i: 0.9 * (LEVELS[setting][tuned] + wobble) for i, wobble in enumerate(WOBBLE[setting])}


def by_name(table: Table) -> dict[str, Row]:
    return {row.name: row for row in table.rows}


def test_every_pair_in_both_configurations() -> None:
    table = contrasts(results([*study(BASE), *study(AL), *study(REAL)]))
    pairs = ["al-baseline", "real-baseline", "real-al"]
    assert [row.name for row in table.rows] == [
        f"toy/tiny/{pair}/{kind}" for kind in ("recipe", "tuned") for pair in pairs
    ]
    for kind, tuned in (("recipe", False), ("tuned", True)):
        found = [contrast(read_of(a, tuned), read_of(b, tuned)) for a, b in ((AL, BASE), (REAL, BASE), (REAL, AL))]
        adjusted = holm([one and one.p_value for one in found])
        for pair, one, p_holm in zip(pairs, found, adjusted, strict=True):
            data = by_name(table)[f"toy/tiny/{pair}/{kind}"].values()
            assert one is not None
            assert (data["test_ratio"], data["test_ratio_low"]) == pytest.approx((one.ratio, one.ratio_low))
            assert (data["test_difference"], data["test_p"]) == pytest.approx((one.difference, one.p_value))
            assert (data["test_p_holm"], data["equivalent"], data["seeds"]) == (p_holm, one.equivalent, 4)
            # The validation perplexities are in the same proportion here.
            assert data["valid_ratio"] == pytest.approx(one.ratio)
    assert by_name(table)["toy/tiny/al-baseline/tuned"].values()["comparison"] == "VD-LSTM+AL / VD-LSTM"
    assert by_name(table)["toy/tiny/al-baseline/tuned"].values()["equivalent"] is True
    assert by_name(table)["toy/tiny/real-baseline/recipe"].values()["equivalent"] is False
    assert {row.note for row in table.rows} == {"with fewer than 6 seeds p cannot be below .05"}


def test_both_sides_trials_are_behind_a_contrast() -> None:
    table = contrasts(results([*study(BASE), *study(REAL)]))
    ids = tuple(f"confirm-tpe-0001-s{seed}" for seed in (101, 102, 103, 104))
    data = by_name(table)["toy/tiny/real-baseline/tuned"].data
    for column in ("test_ratio", "test_difference", "test_p", "test_p_holm", "equivalent", "seeds", "valid_ratio"):
        assert by_study(data[column].trials) == {name_of(REAL): ids, name_of(BASE): ids}


def test_what_is_missing_is_said_once_for_each_pair() -> None:
    rows = [*study(BASE), *study(AL, tuned=False), trial(REAL, "random-0001", 90.0)]
    table = contrasts(results(rows))
    assert [row.name.split("/")[2:] for row in table.rows] == [
        ["al-baseline", "recipe"], ["real-baseline", "recipe"], ["real-al", "recipe"], ["al-baseline", "tuned"],
    ]  # fmt: skip
    found = by_name(table)
    assert found["toy/tiny/real-baseline/recipe"].values()["configuration"] == "recipe and tuned"
    assert found["toy/tiny/real-baseline/recipe"].note == "VD-LSTM+REAL: nothing confirmed on fresh seeds"
    assert found["toy/tiny/al-baseline/tuned"].note == "VD-LSTM+AL: nothing confirmed on fresh seeds"
    assert found["toy/tiny/al-baseline/tuned"].dim
    # What has no p-value is no member of the family: one comparison is left, and nothing to adjust.
    data = found["toy/tiny/al-baseline/recipe"].values()
    assert data["test_p_holm"] == data["test_p"] == 2 / 2**4


def test_other_lengths_and_other_seeds_are_not_compared() -> None:
    short = contrasts(results([*study(BASE), *study(REAL, max_epochs=3)]))
    assert short.rows[0].note == "trials of VD-LSTM+REAL have 3 epochs, those of VD-LSTM 12"
    assert short.rows[0].values()["test_ratio"] is None
    later = [row | {"seed": row["seed"] + 50} if row["block"] == "confirm" else row for row in study(REAL)]
    apart = contrasts(results([*study(BASE), *later]))
    assert [row.note for row in apart.rows] == ["no seed in common"]


def test_a_test_split_that_is_not_read_yet() -> None:
    unread = [row | {"test_ppl": None} for row in study(REAL)]
    row = contrasts(results([*study(BASE), *unread])).rows[0]
    assert row.note == "no seed has a test value in both"
    assert row.values()["test_ratio"] is None
    assert row.values()["valid_ratio"] == pytest.approx(
        contrast(
            {i: 91 + w for i, w in enumerate(WOBBLE[REAL])}, {i: 100 + w for i, w in enumerate(WOBBLE[BASE])}
        ).ratio  # type: ignore[union-attr]
    )


def test_a_variant_alone_has_no_pair() -> None:
    assert contrasts(results(study(BASE))).rows == ()
    assert tuning_debts(results(study(BASE))).rows == ()


def test_the_debt_is_the_ratio_of_the_ratios() -> None:
    table = tuning_debts(results([*study(BASE), *study(AL), *study(REAL)]))
    data = by_name(table)["toy/tiny/al-baseline"].values()
    logs = [
        math.log(read_of(AL, False)[s] / read_of(BASE, False)[s])
        - math.log(read_of(AL, True)[s] / read_of(BASE, True)[s])
        for s in (101, 102, 103, 104)
    ]
    assert data["debt"] == pytest.approx(math.exp(sum(logs) / 4))
    assert data["debt"] == pytest.approx(data["recipe_ratio"] / data["tuned_ratio"])
    assert data["debt_low"] < data["debt"] < data["debt_high"] < 1
    assert (data["p"], data["p_holm"], data["debt_seeds"]) == (0.125, 0.375, 4)
    ids = {f"confirm-{origin}-s{seed}" for origin in ("paper", "tpe-0001") for seed in (101, 102, 103, 104)}
    behind = by_name(table)["toy/tiny/al-baseline"].data["debt"].trials
    assert set(behind) == {(name_of(setting), trial_id) for setting in (AL, BASE) for trial_id in ids}


def test_a_debt_that_cannot_be_reckoned() -> None:
    table = tuning_debts(results([*study(BASE), *study(AL, tuned=False)]))
    row = table.rows[0]
    assert (row.values()["debt"], row.values()["tuned_ratio"], row.dim) == (None, None, True)
    assert row.values()["recipe_ratio"] is not None
    assert row.note == "tuned: VD-LSTM+AL: nothing confirmed on fresh seeds"


def test_two_recipes_that_won_owe_nothing() -> None:
    rows = [row for setting in (BASE, AL) for row in study(setting, tuned=False) if row["trial_id"] != "tpe-0001"]
    row = tuning_debts(results(rows)).rows[0]
    assert row.note == "the paper's recipe won both searches: there is no debt, by definition"
    assert (row.values()["debt"], row.values()["debt_low"]) == (1.0, None)


def test_unequal_budgets_are_said_where_a_search_chose() -> None:
    made = results([*study(BASE), *study(REAL), trial(REAL, "tpe-0002", 99.0)])
    few = "with fewer than 6 seeds p cannot be below .05"
    assert [row.note for row in contrasts(made).rows] == [few, f"{few}; searches of 3 and 2 trials"]
    assert tuning_debts(made).rows[0].note == f"{few}; searches of 3 and 2 trials"
