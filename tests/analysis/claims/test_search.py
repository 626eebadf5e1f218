"""Claims 6 and 12: what the searches' random draws say of tau, alpha and the dropout numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.claims import CONTRADICTED, NOT_ENOUGH, SUPPORTED, Verdict, judge
from analysis.claims.comparisons import AGAINST, OPEN, SHOWN
from analysis.claims.perplexity import SMALL, TABLE_1, Place
from analysis.tables.table import joined
from study.records.records import Setting
from tests.support import memory
from trainables.recipes import CORPORA, VARIANTS

AUGMENTED = ("al", "real")


def searches(
    number: int,
    loss: Callable[[dict[str, Any], Setting], float],
    *,
    num_random: int = 60,
    places: tuple[Place, ...] = TABLE_1,
    variants: tuple[str, ...] = AUGMENTED,
    noise: float = 0.005,
    **columns: Any,
) -> Verdict:
    """The verdict on a claim with searches whose trials end at exp(loss(parameters, setting)); inf diverges."""
    rng, rows = np.random.default_rng(0), []
    for place in places:
        for variant in variants:
            setting = place.setting(variant)
            rows.append(memory.trial(setting, "default-0000", 80.0, **columns))
            for i in range(1, num_random + 1):
                params: dict[str, Any] = {"drop_prob": rng.uniform(0.1, 0.8), "lr": math.exp(rng.uniform(-1.2, 1.1))}
                if variant in AUGMENTED:
                    params |= {"gamma": rng.uniform(0.3, 2.0), "tau": math.exp(rng.uniform(math.log(2), math.log(80)))}
                end = loss(params, setting) + rng.normal(0.0, noise)
                state = {"status": "failed", "stopped_by": "non_finite_loss"} if math.isinf(end) else {}
                ppl = 95.0 if math.isinf(end) else math.exp(end)
                rows.append(memory.trial(setting, f"random-{i:04d}", ppl, **params, **state, **columns))
    return judge(memory.results(rows), only=[number])[0]


def base(params: dict[str, Any]) -> float:
    return math.log(80.0) + 0.2 * (params["drop_prob"] - 0.3) ** 2 + 0.05 * math.log(params["lr"]) ** 2


def flat(params: dict[str, Any], setting: Setting) -> float:
    """Tau matters where it is far off alone."""
    return base(params) + (0.3 if abs(math.log(params["tau"] / 20)) > math.log(2) else 0.0)


def steep(params: dict[str, Any], setting: Setting) -> float:
    """A moderate step in gamma costs 8 %, on PTB's small networks."""
    off = abs(math.log(params["gamma"] / CORPORA[setting.corpus].gamma))
    return base(params) + (0.08 if setting[:2] == SMALL and off > math.log(2) / 2 else 0.0)


def test_a_plateau_supports() -> None:
    found = searches(6, flat)
    assert found.verdict == SUPPORTED, found.effect
    assert len(found.comparisons) == 10
    first = found.comparisons[0]
    assert first.name == "tau a moderate step off the recipe / near it, PTB small"
    assert first.effect == pytest.approx(1.0, abs=0.006)
    assert (first.num, first.unit, first.measure.name) == (120, "random draws", "ratio of validation perplexities")
    assert len(set(first.trials)) == 120


def test_harm_in_one_place_contradicts() -> None:
    found = searches(6, steep)
    assert found.verdict == CONTRADICTED
    against = [c.name for c in found.comparisons if c.decision == AGAINST]
    assert against == ["alpha at constant tau a moderate step off the recipe / near it, PTB small"]


def test_what_the_plateau_lacks() -> None:
    few = searches(6, flat, num_random=5)
    assert few.verdict == NOT_ENOUGH
    assert "about 40 random draws in all" in joined(few.missing)
    assert "`python -m study.reproduce table1 --size small --corpus ptb --num-samples 41`" in joined(few.missing)
    noisy = searches(6, flat, noise=0.1)
    assert noisy.verdict == NOT_ENOUGH
    assert "random draws in all" in joined(noisy.missing)
    assert "not run: WikiText-2 small, WikiText-2 medium" in joined(searches(6, flat, places=TABLE_1[:3]).missing)
    short = searches(6, flat, max_epochs=6)
    assert short.verdict == NOT_ENOUGH
    assert "trials of 6 epochs, the full length is 40: PTB small" in joined(short.missing)
    assert {c.decision for c in short.comparisons} == {OPEN}


def kept(params: dict[str, Any], setting: Setting) -> float:
    """Best at 1 - the paper's number; diverges at its worst."""
    reading = 1 - CORPORA[setting.corpus].keep_prob[setting.size]
    off = abs(params["drop_prob"] - reading)
    return math.inf if off > 0.65 else math.log(80.0) + off


def dropped(params: dict[str, Any], setting: Setting) -> float:
    """Best at the paper's number itself, on WikiText-2 alone."""
    keep = CORPORA[setting.corpus].keep_prob[setting.size]
    return math.log(80.0) + abs(params["drop_prob"] - (keep if setting.corpus == "wikitext2" else 1 - keep))


def test_keep_probabilities() -> None:
    found = searches(12, kept, num_random=20, variants=tuple(VARIANTS))
    assert found.verdict == SUPPORTED, found.effect
    assert [c.name for c in found.comparisons] == [
        "chance that drop_prob near 0.3 beats 0.7, PTB small",
        "chance that drop_prob near 0.65 beats 0.35, PTB large",
        "chance that drop_prob near 0.2 beats 0.8, WikiText-2 small",
        "chance that drop_prob near 0.4 beats 0.6, WikiText-2 medium",
    ]
    assert all(c.effect is not None and c.effect > 0.9 for c in found.comparisons)
    assert "median validation perplexity" in found.comparisons[0].note


def test_drop_probabilities_contradict() -> None:
    found = searches(12, dropped, num_random=20, variants=tuple(VARIANTS))
    assert found.verdict == CONTRADICTED
    assert [c.decision for c in found.comparisons] == [SHOWN, SHOWN, AGAINST, AGAINST]


def test_what_the_readings_lack() -> None:
    few = searches(12, kept, num_random=2, variants=tuple(VARIANTS))
    assert few.verdict == NOT_ENOUGH
    assert "chance that drop_prob near 0.3 beats 0.7, PTB small: about 40 random draws in all" in joined(few.missing)
    alike = searches(12, lambda params, setting: math.log(80.0), num_random=20, variants=tuple(VARIANTS), noise=0.1)
    assert alike.verdict == NOT_ENOUGH
    assert "--num-samples" in joined(alike.missing)
    # One variant is enough to say what a corpus and size does.
    one = searches(12, kept, num_random=60, variants=("re",))
    assert one.verdict == SUPPORTED, one.missing
    short = searches(12, kept, num_random=20, variants=tuple(VARIANTS), max_epochs=6)
    assert "trials of 6 epochs, the full length is 40: PTB small" in joined(short.missing)


def test_trials_of_tpe_decide_nothing() -> None:
    setting = SMALL.setting("re")
    readings = [(80.0, 0.3), (120.0, 0.7)] * 20
    rows = [memory.trial(setting, f"tpe-{i:04d}", ppl, drop_prob=p) for i, (ppl, p) in enumerate(readings)]
    found = judge(memory.results(rows), only=[12])[0]
    assert found.comparisons[0].num == 0
    assert found.verdict == NOT_ENOUGH
