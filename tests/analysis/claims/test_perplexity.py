"""Claims about final perplexities: records that support each, contradict it, and lack what it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pytest

from analysis import paper
from analysis.claims import CONTRADICTED, NOT_ENOUGH, SUPPORTED, Verdict, judge
from analysis.claims.comparisons import AGAINST, ASIDE, OPEN, SHOWN
from analysis.claims.perplexity import HALVES, LARGE, SMALL, TABLE_1
from analysis.records.sources import by_study
from analysis.tables.table import joined
from study.records.records import Setting
from tests.support import memory
from trainables.recipes import VARIANTS

Levels = dict[Setting, float]
CLAIMS = (1, 2, 3, 4, 5, 8)


def paper_levels() -> Levels:
    """The paper's test perplexities of Tables 1 and 2."""
    settings = [place.setting(variant) for place in (*TABLE_1, *HALVES) for variant in VARIANTS]
    numbers = {setting: paper.perplexity(*setting, "test_ppl") for setting in settings}
    return {setting: number.value for setting, number in numbers.items() if number is not None}


def verdicts(
    levels: Mapping[Setting, float], *only: int, num_seeds: int = 6, spread: float = 0.0003, **columns: Any
) -> dict[int, Verdict]:
    """The verdicts of these claims on records of the paper's recipe alone."""
    trials = [
        row
        for setting, level in levels.items()
        for row in memory.confirm(setting, memory.by_seed(level, num_seeds, spread=spread, key=str(setting)), **columns)
    ]
    found = memory.results(trials, [memory.run(setting) for setting in levels])
    return {v.number: v for v in judge(found, only=only)}


@pytest.fixture(scope="module")
def papers() -> dict[int, Verdict]:
    """The verdicts on the paper's own numbers with hardly any spread."""
    return verdicts(paper_levels(), *CLAIMS)


@pytest.mark.parametrize("number", CLAIMS)
def test_the_papers_own_numbers_support_its_claims(papers: dict[int, Verdict], number: int) -> None:
    verdict = papers[number]
    assert verdict.verdict == SUPPORTED, verdict.effect
    assert verdict.missing == ()
    assert {c.decision for c in verdict.comparisons if c.named} == {SHOWN}


def test_the_effect_and_the_sources_are_those_of_the_trials(papers: dict[int, Verdict]) -> None:
    first = papers[4].comparisons[0]
    assert first.name == "VD-LSTM+RE / VD-LSTM+AL, PTB large"
    assert first.effect == pytest.approx(69.0 / 71.2, rel=1e-3)
    assert first.low < first.effect < first.high  # type: ignore[operator]
    assert (first.num, first.p, first.p_holm) == (6, 2 / 2**6, 2 / 2**6)
    assert "VD-LSTM+RE / VD-LSTM+AL, PTB large = 0.969 (0.96" in joined(papers[4].effect)
    ids = tuple(f"confirm-paper-s{seed}" for seed in range(101, 107))
    assert by_study(first.trials) == {"re-large-ptb-0a1b2c3d": ids, "al-large-ptb-0a1b2c3d": ids}


def changed(**levels: float) -> Levels:
    """The paper's levels with some replaced: ``real_small_ptb=90.0``."""
    found = paper_levels()
    for name, level in levels.items():
        variant, size, corpus = name.split("_")
        found[Setting(corpus, size, variant)] = level
    return found


@pytest.mark.parametrize(
    ("number", "levels", "note"),
    [
        (1, {"al_medium_wikitext2": 99.0}, "the other way"),
        (1, {"al_medium_wikitext2": 95.31}, "equal within 1.0 perplexity"),
        (2, {"re_large_ptb": 66.0}, "the other way"),
        (3, {"al_large_ptb": 66.0}, "the other way"),
        (3, {"al_large_ptb": 72.6 * 82.9 / 87.3}, "equal within 1.0 perplexity"),
        (4, {"re_large_ptb": 74.0}, "the other way"),
        (4, {"re_large_ptb": 71.2}, "equal within 1.0 perplexity"),
        (5, {"al_small_wikitext2": 98.0}, "the other way"),
        (5, {"al_small_ptb": 88.0}, "the other way"),
        (8, {"re_large_ptb": 72.0}, "the other way"),
        (8, {"real_large_ptb": 72.6}, "equal within 1.0 perplexity"),
    ],
)
def test_records_that_contradict(number: int, levels: dict[str, float], note: str) -> None:
    verdict = verdicts(changed(**levels), number, num_seeds=10)[number]
    assert verdict.verdict == CONTRADICTED, verdict.effect
    assert verdict.missing == ()
    against = [c for c in verdict.comparisons if c.decision == AGAINST]
    assert {c.notes for c in against} == {(note,)}
    assert against[0].name in joined(verdict.effect)


def test_equality_with_the_second_best_does_not_contradict_that_real_is_best() -> None:
    verdict = verdicts(changed(real_small_ptb=82.9), 2, num_seeds=10)[2]
    assert verdict.verdict == NOT_ENOUGH
    assert "VD-LSTM+REAL / VD-LSTM+AL, PTB small: about" in joined(verdict.missing)


def test_one_place_short_of_the_whole_claim() -> None:
    levels = {setting: level for setting, level in paper_levels().items() if setting.size != "large"}
    found = verdicts(levels, *CLAIMS)
    for number in (1, 2, 3, 4, 8):
        assert found[number].verdict == NOT_ENOUGH
        assert "not run: PTB large" in joined(found[number].missing)
        assert "`python -m study.reproduce table1 --size large --corpus ptb`" in joined(found[number].missing)
    assert found[1].effect[0] == "12 of 15 comparisons shown"
    assert found[5].verdict == SUPPORTED


def test_shortened_trials_are_shown_and_not_judged() -> None:
    found = verdicts(paper_levels(), *CLAIMS, max_epochs=6)
    for number in CLAIMS:
        assert found[number].verdict == NOT_ENOUGH
        assert "trials of 6 epochs, the full length is" in joined(found[number].missing)
        assert re.search(r"not judged: (VD-LSTM|\(AL)", joined(found[number].effect))
        named = [c for c in found[number].comparisons if c.named]
        assert {(c.decision, c.p_holm) for c in named} == {(OPEN, None)}
        assert all(c.effect is not None for c in named)


def test_too_few_seeds_say_how_many_it_takes() -> None:
    found = verdicts(paper_levels(), 4, num_seeds=4)
    assert found[4].verdict == NOT_ENOUGH
    assert "VD-LSTM+RE / VD-LSTM+AL, PTB large: about 6 seeds in all, 4 so far" in joined(found[4].missing)
    assert "`python -m study.reproduce table1 --size large --corpus ptb --seeds 6`" in joined(found[4].missing)
    one = verdicts(paper_levels(), 4, num_seeds=1)[4]
    assert "at least 6 seeds in all, 1 so far" in joined(one.missing)
    assert "one seed says nothing" in joined(one.comparisons[0].notes)


def test_a_contradiction_must_hold_after_holms_adjustment_over_all_comparisons_run_or_not() -> None:
    levels = {setting: ppl for setting, ppl in changed(al_small_ptb=95.0).items() if setting[:2] == SMALL}
    found = verdicts(levels, 1)[1]
    (one,) = (c for c in found.comparisons if c.name == "VD-LSTM+AL / VD-LSTM, PTB small")
    assert one.p == 2 / 2**6
    assert one.p_holm == pytest.approx(15 * 2 / 2**6)
    assert one.decision == OPEN
    assert found.verdict == NOT_ENOUGH
    assert verdicts(levels, 1, num_seeds=10)[1].verdict == CONTRADICTED


@pytest.mark.parametrize(
    ("what", "run_columns", "trial_columns"),
    [
        ("precision", {}, {"precision": "tf32"}),
        ("epochs", {}, {"max_epochs": 160}),
        ("corpus", {"corpus_sha256": "another"}, {}),
    ],
)
def test_what_was_not_made_alike_is_not_compared(
    what: str, run_columns: dict[str, Any], trial_columns: dict[str, Any]
) -> None:
    trials, runs = [], []
    for variant, level in (("al", 71.2), ("re", 69.0)):
        setting = LARGE.setting(variant)
        more = trial_columns if variant == "re" else {}
        trials += memory.confirm(setting, memory.by_seed(level), **more)
        runs.append(memory.run(setting, **(run_columns if variant == "re" else {})))
    found = {v.number: v for v in judge(memory.results(trials, runs), only=[4])}[4]
    assert found.verdict == NOT_ENOUGH
    assert f"PTB large: not the same {what} (" in joined(found.missing)


def test_seeds_that_do_not_match_are_no_pairs() -> None:
    trials = memory.confirm(LARGE.setting("al"), {101: 71.0}) + memory.confirm(LARGE.setting("re"), {102: 69.0})
    found = {v.number: v for v in judge(memory.results(trials), only=[4])}[4]
    assert "seeds that all arms share" in joined(found.missing)


def test_a_mean_over_the_seeds_that_survived_is_not_judged() -> None:
    trials = memory.confirm(LARGE.setting("al"), memory.by_seed(71.2))
    trials += memory.confirm(LARGE.setting("re"), memory.by_seed(69.0))
    assert judge(memory.results(trials), only=[4])[0].verdict == SUPPORTED
    trials += memory.confirm(LARGE.setting("re"), {107: 900.0}, status="failed", stopped_by="non_finite_loss")
    found = judge(memory.results(trials), only=[4])[0]
    assert found.verdict == NOT_ENOUGH
    assert "1 of 7 seeds diverged: PTB large (VD-LSTM+RE)" in joined(found.missing)
    trials[-1]["stopped_by"] = "error"  # a machine that died says nothing of the network
    assert judge(memory.results(trials), only=[4])[0].verdict == SUPPORTED


def test_asides_are_shown_and_decide_nothing() -> None:
    levels = paper_levels() | {Setting("toy", "tiny", v): 140.0 for v in VARIANTS}
    found = verdicts(levels, 1)[1]
    assert found.verdict == SUPPORTED
    assert [c.decision for c in found.comparisons if "Toy" in c.name] == [ASIDE] * 3
    assert "beside the claim: VD-LSTM+AL / VD-LSTM, WikiText-2 Partition 1 small = 0.963" in joined(found.effect)


def test_the_first_trials_of_a_search_are_a_first_glance() -> None:
    trials = [
        memory.trial(SMALL.setting(variant), "default-0000", ppl, max_epochs=6)
        for variant, ppl in (("baseline", 130.0), ("al", 117.0))
    ]
    found = {v.number: v for v in judge(memory.results(trials), only=[1])}[1]
    assert found.verdict == NOT_ENOUGH
    assert "a single trial each: PTB small, 6 epochs: VD-LSTM+AL 0.900" in joined(found.effect)
    assert "trials of 6 epochs, the full length is 40: PTB small (VD-LSTM+AL, VD-LSTM)" in joined(found.missing)


def test_the_share_of_the_gain_has_its_interval(papers: dict[int, Verdict]) -> None:
    share = math.log(72.6 / 69.0) / math.log(72.6 / 68.5)
    found = re.search(r"RE's share of REAL's gain = (\d+)% \(", joined(papers[8].effect))
    assert found
    assert abs(int(found[1]) - 100 * share) < 1
