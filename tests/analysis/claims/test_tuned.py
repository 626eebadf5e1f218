"""Claims 9 and 11: the second session, and the gains when all are tuned alike."""

from __future__ import annotations

import math
from typing import Any

import pytest

from analysis.claims import CONTRADICTED, NOT_ENOUGH, SUPPORTED, Verdict, judge
from analysis.claims.comparisons import AGAINST, ASIDE, SHOWN
from analysis.claims.perplexity import SMALL, TABLE_1
from analysis.records.sources import by_study
from analysis.tables.table import joined
from tests.support import memory
from trainables.recipes import SIZES, VARIANTS

FULL = SIZES["small"].max_epochs
FIRST = {"baseline": 87.3, "al": 85.5, "re": 87.0, "real": 85.0}
SECOND = {"baseline": 87.3, "al": 82.9, "re": 85.1, "real": 82.7}


def second_session(second: dict[str, float], *, num_seeds: int = 6, curves: bool = False, **columns: Any) -> Verdict:
    """The verdict on claim 9 with these levels of two sessions and those of ``FIRST`` of one."""
    columns = {"max_epochs": 2 * FULL, "second_session_epoch": FULL + 1} | columns
    trials, epochs = [], []
    for variant, level in FIRST.items():
        setting = SMALL.setting(variant)
        trials += memory.confirm(setting, memory.by_seed(level, num_seeds, key=variant))
        if variant not in second:
            continue
        twice = memory.confirm(setting, memory.by_seed(second[variant], num_seeds, key=variant), **columns)
        trials += [row | {"study": f"twice-{variant}"} for row in twice]
        for row in twice if curves else ():
            valid = {FULL: level, FULL + 1: 2 * level, 2 * FULL: second[variant] + row["seed"] / 1e4}
            epochs += [
                {
                    "study": f"twice-{variant}",
                    "trial_id": row["trial_id"],
                    "epoch": e,
                    "valid_ppl": ppl,
                    **setting._asdict(),
                }
                for e, ppl in valid.items()
            ]
    return judge(memory.results(trials, epochs=epochs), only=[9])[0]


def test_a_second_session_that_helps_all_but_the_baseline() -> None:
    found = second_session(SECOND)
    assert found.verdict == SUPPORTED, found.effect
    assert [c.decision for c in found.comparisons] == [SHOWN] * 4
    assert found.comparisons[1].effect == pytest.approx(82.9 / 85.5, rel=1e-3)
    assert {key.study for c in found.comparisons for key in c.trials} == {
        *(f"twice-{v}" for v in VARIANTS),
        *(memory.name_of(SMALL.setting(v)) for v in VARIANTS),
    }


@pytest.mark.parametrize(
    ("level", "note"),
    [
        ({"baseline": 84.0}, "differs by more than 1.0 perplexity"),
        ({"al": 85.51}, "equal within 1.0 perplexity"),
        ({"re": 89.0}, "the other way"),
    ],
)
def test_a_second_session_that_contradicts(level: dict[str, float], note: str) -> None:
    found = second_session(SECOND | level, num_seeds=8)
    assert found.verdict == CONTRADICTED
    assert [c.notes for c in found.comparisons if c.decision == AGAINST] == [(note,)]


def test_a_second_session_that_lacks_something() -> None:
    one = second_session({v: ppl for v, ppl in SECOND.items() if v != "real"})
    assert one.verdict == NOT_ENOUGH
    assert "not run: PTB small (second session of VD-LSTM+REAL)" in joined(one.missing)
    assert "`python -m study.reproduce footnote4`" in joined(one.missing)
    short = second_session(SECOND, max_epochs=12, second_session_epoch=7)
    assert short.verdict == NOT_ENOUGH
    assert "the first session has 6 of 12 epochs, in full it has 40 of 80" in joined(short.missing)
    few = second_session(SECOND, num_seeds=3)
    assert few.verdict == NOT_ENOUGH
    assert "`python -m study.reproduce footnote4 --seeds 6`" in joined(few.missing)


def test_within_the_trials_the_sessions_are_compared_by_validation() -> None:
    found = second_session(SECOND, curves=True)
    within = [c for c in found.comparisons if c.decision == ASIDE][1]
    assert within.name == "second session / first, VD-LSTM+AL, PTB small"
    assert within.effect == pytest.approx(82.91 / 85.5, rel=1e-3)


TUNED = {"baseline": 80.0, "al": 78.0, "re": 77.0, "real": 76.0}


def tuned(
    levels: dict[str, float] = TUNED, *, num_seeds: int = 6, budget: dict[str, int] | None = None, ended: int = 4
) -> Verdict:
    """The verdict on claim 11 with these levels everywhere in Table 1, a search's best configuration confirmed."""
    trials, runs = [], []
    for place in TABLE_1:
        for variant, level in levels.items():
            setting = place.setting(variant)
            trials += [memory.trial(setting, "default-0000", 100.0)]
            trials += [memory.trial(setting, f"random-{i:04d}", 90.0 - i) for i in range(1, ended)]
            ppl = memory.by_seed(level, num_seeds, key=str(setting))
            trials += memory.confirm(setting, ppl, origin=f"random-{ended - 1:04d}")
            recipe = 95.0 if variant == "baseline" else 90.0
            trials += memory.confirm(setting, memory.by_seed(recipe, num_seeds, key=str(setting)))
            runs.append(memory.run(setting, num_samples=(budget or {}).get(variant, 4)))
    return judge(memory.results(trials, runs), only=[11])[0]


def test_gains_that_survive_tuning() -> None:
    found = tuned()
    assert found.verdict == SUPPORTED, found.missing
    (one,) = (c for c in found.comparisons if c.name == "VD-LSTM+REAL / VD-LSTM, PTB large")
    assert one.effect == pytest.approx(76 / 80, rel=1e-3)
    ids = tuple(f"confirm-random-0003-s{seed}" for seed in range(101, 107))
    assert {own for c in found.comparisons for own in by_study(c.trials).values()} == {ids}
    debt = math.log(90 / 95) - math.log(78 / 80)
    assert f"VD-LSTM+AL, PTB small {debt:+.3f}" in joined(found.effect)


def test_gains_that_tuning_removes() -> None:
    found = tuned(TUNED | {"al": 80.02}, num_seeds=8)
    assert found.verdict == CONTRADICTED
    assert {c.notes for c in found.comparisons if c.decision == AGAINST} == {("equal within 1.0 perplexity",)}


def test_an_unfinished_search_or_none_is_not_compared() -> None:
    more = tuned(budget={"baseline": 6})
    assert "4 of 6 trials of the search have ended: PTB small" in joined(more.missing)
    assert more.verdict == NOT_ENOUGH
    trials = memory.confirm(SMALL.setting("al"), memory.by_seed(80.0))
    none = judge(memory.results(trials, [memory.run(SMALL.setting("al"))]), only=[11])[0]
    assert "the paper's recipe alone, no search: PTB small (VD-LSTM+AL)" in joined(none.missing)


def test_searches_of_different_length_are_not_compared() -> None:
    trials, runs = [], []
    for variant, count in (("baseline", 3), ("al", 5)):
        setting = SMALL.setting(variant)
        trials += [memory.trial(setting, "default-0000", 100.0)]
        trials += [memory.trial(setting, f"random-{i:04d}", 90.0 - i) for i in range(1, count)]
        trials += memory.confirm(setting, memory.by_seed(80.0, key=variant), origin=f"random-{count - 1:04d}")
        runs.append(memory.run(setting, num_samples=count))
    found = judge(memory.results(trials, runs), only=[11])[0]
    assert "PTB small: not the same trials of the search (VD-LSTM+AL 5, VD-LSTM 3)" in joined(found.missing)


def test_a_better_trial_that_is_not_confirmed_bars_the_comparison() -> None:
    setting = SMALL.setting("al")
    trials = [memory.trial(setting, "default-0000", 100.0), memory.trial(setting, "random-0001", 90.0)]
    trials += [memory.trial(setting, "random-0002", 80.0)]
    trials += memory.confirm(setting, memory.by_seed(80.0), origin="random-0001")
    found = judge(memory.results(trials, [memory.run(setting, num_samples=3)]), only=[11])[0]
    assert "the best of the search, random-0002, is not confirmed: PTB small (VD-LSTM+AL)" in joined(found.missing)


def test_a_recipe_that_won_its_search_stands_for_the_tuned_setting() -> None:
    trials, runs = [], []
    for variant, level in (("baseline", 80.0), ("al", 76.0)):
        setting = SMALL.setting(variant)
        trials += [memory.trial(setting, "default-0000", 79.0), memory.trial(setting, "random-0001", 90.0)]
        trials += memory.confirm(setting, memory.by_seed(level, key=variant))
        runs.append(memory.run(setting, num_samples=2))
    found = judge(memory.results(trials, runs), only=[11])[0].comparisons[0]
    assert (found.name, found.decision) == ("VD-LSTM+AL / VD-LSTM, PTB small", SHOWN)
