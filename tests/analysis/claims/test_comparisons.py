"""Decisions of single comparisons, and the error rates of the rules."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.claims.arms import Arm
from analysis.claims.comparisons import AGAINST, ASIDE, OPEN, SHOWN, Comparison, below, mixed, same, settle

ARM = Arm(place="PTB small", label="VD-LSTM")


def seeds(*values: float) -> dict[int, float]:
    return {101 + i: value for i, value in enumerate(values)}


def compare(a: dict[int, float], b: dict[int, float], *, family: int = 1, **how: bool) -> Comparison:
    return settle([below("a / b", a, b, arms=(ARM,), family=family, **how)])[0]


B = seeds(80.0, 81.0, 79.0, 80.5, 79.5, 80.2)


def scaled(ratio: float, wiggle: float = 0.001) -> dict[int, float]:
    """B times a ratio, give or take."""
    return {seed: value * ratio * (1 + wiggle * (-1) ** seed) for seed, value in B.items()}


def test_lower_for_every_seed_is_shown() -> None:
    found = compare(scaled(0.95), B)
    assert (found.decision, found.p, found.p_holm, found.note) == (SHOWN, 2 / 64, 2 / 64, "")
    assert found.effect == pytest.approx(0.95, rel=1e-4)


def test_lower_by_little_is_shown_and_said() -> None:
    found = compare(scaled(0.995), B)
    assert (found.decision, found.note) == (SHOWN, "by less than 1.0 perplexity")
    assert compare(scaled(0.995), B, in_ppl=False).note == ""


def test_higher_for_every_seed_is_against() -> None:
    found = compare(scaled(1.05), B)
    assert (found.decision, found.note, found.more) == (AGAINST, "the other way", "")


def test_equality_is_against_a_gain_unless_told_otherwise() -> None:
    a = scaled(1.0, 0.003)
    assert (compare(a, B).decision, compare(a, B).note) == (AGAINST, "equal within 1.0 perplexity")
    assert compare(a, B, equal_is_against=False).decision == OPEN


def test_the_level_says_what_a_ratio_of_ratios_is_in_perplexity() -> None:
    a, b = {s: v / 80 for s, v in scaled(1.02, 0.01).items()}, {s: v / 80 for s, v in B.items()}
    found = below("a / b", a, b, arms=(ARM,), family=1)
    assert found.decision == AGAINST  # at a level of 1, everything is within 1.0
    assert below("a / b", a, b, arms=(ARM,), family=1, level=dict.fromkeys(B, 80.0)).decision == OPEN


def test_holm_counts_all_comparisons_that_the_claim_names() -> None:
    worse = below("a / b", scaled(1.05), B, arms=(ARM,), family=2)
    missing = below("c / b", {}, B, arms=(ARM,), family=2)
    aside = below("d / b", scaled(1.05), B, arms=(ARM,), family=2, named=False)
    found = settle([worse, missing, aside])
    assert [c.decision for c in found] == [OPEN, OPEN, ASIDE]
    assert [c.p_holm for c in found] == [4 / 64, None, None]
    assert settle([worse])[0].decision == AGAINST


def test_what_lacks_something_is_not_judged() -> None:
    short = Arm(place="PTB small", label="VD-LSTM", lacks="trials of 6 epochs")
    found = settle([below("a / b", scaled(0.9), B, arms=(ARM, short), family=1)])[0]
    assert (found.decision, found.p, found.p_holm, found.more) == (OPEN, 2 / 64, None, "")


def test_open_comparisons_say_how_many_seeds_it_takes() -> None:
    few = {seed: value for seed, value in scaled(0.95).items() if seed < 104}
    assert (compare(few, B).num_needed, compare(few, B).more) == (6, "about 6 seeds in all, 3 so far")
    assert compare(seeds(70.0), B).num_needed == 6
    # The other way, six seeds cannot do after Holm's adjustment over ten.
    worse = below("a / b", scaled(1.05), B, arms=(ARM,), family=10)
    assert worse.num_needed == math.ceil(math.log2(2 / 0.005))
    # Next to no difference: showing equality takes fewer seeds than showing a difference.
    noisy = scaled(1.0015, 0.01)
    equal = compare(noisy, B).num_needed
    different = compare(noisy, B, equal_is_against=False).num_needed
    assert equal is not None
    assert different is not None
    assert 6 < equal < different
    assert "no" not in compare({}, B).more


def test_a_number_of_seeds_that_showed_equality_does_show_it() -> None:
    rng = np.random.default_rng(0)
    sd, hits = 0.02, 0
    pilot = {101 + i: 80 * math.exp(d) for i, d in enumerate((sd, -sd, sd, -sd, sd, -sd))}
    flat = dict.fromkeys(range(101, 1200), 80.0)
    needed = compare(pilot, flat).num_needed
    assert needed is not None
    for _ in range(50):
        d = rng.normal(0.0, sd * math.sqrt(6 / 5), needed)
        hits += compare({101 + i: 80 * math.exp(x) for i, x in enumerate(d)}, flat).decision == AGAINST
    assert 35 <= hits <= 48  # 40 of them, give or take


def test_sameness() -> None:
    def decide(a: dict[int, float]) -> Comparison:
        return settle([same("a / b", a, B, arms=(ARM,), family=4)])[0]

    assert decide(scaled(1.002)).decision == SHOWN
    assert decide(dict(B)).decision == SHOWN  # unchanged to the last digit, for six seeds
    assert decide({101: 80.0, 102: 81.0}).decision == OPEN  # the same, but two seeds are no evidence
    for ratio in (0.95, 1.05):
        found = decide(scaled(ratio))
        assert (found.decision, found.note) == (AGAINST, "differs by more than 1.0 perplexity")
    unclear = decide(scaled(1.0, 0.05))
    assert unclear.decision == OPEN
    assert unclear.num_needed is not None
    assert unclear.num_needed > 6


def test_only_sides_of_one_place_must_be_made_alike() -> None:
    fp32, tf32 = (Arm(place="PTB small", label=p, made_with={"precision": p}) for p in ("fp32", "tf32"))
    other = Arm(place="PTB large", label="VD-LSTM", made_with={"precision": "tf32"})
    unknown = Arm(place="PTB small", label="VD-LSTM", made_with={"precision": None})
    assert mixed((fp32, tf32)) == "PTB small: not the same precision (fp32 fp32, tf32 tf32)"
    assert mixed((fp32, other, unknown)) == ""


@pytest.mark.slow
def test_how_often_the_rules_err() -> None:
    """A claim of fifteen comparisons with three baselines, as claims 1 and 2 have them; 10 seeds, 150 studies."""
    rng, num_seeds, studies = np.random.default_rng(2), 10, 150

    def draw(level: float) -> dict[int, float]:
        return {101 + i: level * math.exp(x) for i, x in enumerate(rng.normal(0.0, 0.004, num_seeds))}

    def study(ratios: list[float], **how: bool) -> list[str]:
        found = []
        for i, ratio in enumerate(ratios):
            base = draw(80.0) if i % 3 == 0 else base  # noqa: F821
            found.append(below(f"{i}", draw(80.0 * ratio), base, arms=(ARM,), family=len(ratios), **how))
        return [c.decision for c in settle(found)]

    one_false = [study([0.9] * 14 + [1.0]) for _ in range(studies)]
    assert np.mean([set(found) == {SHOWN} for found in one_false]) <= 0.05
    at_margin = [study([79.0 / 80.0] * 15) for _ in range(studies)]
    assert np.mean([AGAINST in found for found in at_margin]) <= 0.05
    no_difference = [study([1.0] * 15, equal_is_against=False) for _ in range(studies)]
    assert np.mean([AGAINST in found for found in no_difference]) <= 0.05
