"""The claims page as a whole: twelve tests that say everything before the data, whatever the records hold."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pytest

from analysis.claims import CLAIMS, NOT_ENOUGH, SUPPORTED, Verdict, judge
from analysis.claims.comparisons import ASIDE
from analysis.claims.perplexity import LARGE
from analysis.records.load import Results, load_results
from analysis.tables.table import joined
from study.records.records import Setting
from tests.support import memory
from tests.support.synthetic import write_run, write_trial
from trainables.recipes import VARIANTS


def commands(verdict: Verdict) -> list[str]:
    """The commands that a verdict names."""
    return re.findall(r"`(.+?)`", joined(verdict.missing))


@pytest.fixture(scope="module")
def nothing() -> list[Verdict]:
    """The verdicts on empty records."""
    return judge(memory.results())


def test_twelve_claims_in_order(nothing: list[Verdict]) -> None:
    assert [v.number for v in nothing] == list(range(1, 13)) == [claim.number for claim in CLAIMS]
    for verdict in nothing:
        assert verdict.verdict == NOT_ENOUGH
        assert verdict.effect == ("nothing to compare yet",)
        assert {c.effect for c in verdict.comparisons} <= {None}
        assert {c.trials for c in verdict.comparisons} <= {()}
        assert verdict.claim
        assert verdict.where


def test_each_test_says_when_it_supports_and_when_it_contradicts(nothing: list[Verdict]) -> None:
    for verdict in nothing:
        for word in ("supported", "contradicted", "not enough evidence"):
            assert word in verdict.test.lower(), verdict.number
        assert "  " not in verdict.test
        assert "\n" not in verdict.test
        numbers = {"four comparisons": 4, "ten comparisons": 10, "15 comparisons": 15, "one comparison": 1}
        told = [count for words, count in numbers.items() if words in verdict.test]
        named = sum(c.decision != ASIDE for c in verdict.comparisons)
        assert not told or told == [named], verdict.number


def test_every_claim_says_what_to_run(nothing: list[Verdict], example: Results) -> None:
    parser = pytest.importorskip("study.reproduce").build_parser()
    for verdict in (*nothing, *judge(example)):
        if verdict.verdict == NOT_ENOUGH:
            assert commands(verdict), verdict.missing
        for command in commands(verdict):
            words = shlex.split(command)
            assert words[:3] == ["python", "-m", "study.reproduce"]
            parser.parse_args(words[3:])


def test_half_finished_studies_of_all_kinds_pass_through(example: Results) -> None:
    found = judge(example)
    assert [v.number for v in found] == list(range(1, 13))
    trials = {(row.study, row.trial_id) for row in example.trials.itertuples()}
    for verdict in found:
        for c in verdict.comparisons:
            assert set(c.trials) <= trials
            assert c.effect is None or c.trials, c.name
            assert all(math.isfinite(x) for x in (c.effect, c.low, c.high, c.p) if x is not None)
        text = joined(verdict.effect + verdict.missing)
        assert "nan" not in text.lower()
        assert "\n" not in text


def test_from_the_files_of_a_study(tmp_path: Path) -> None:
    for variant, level in (("al", 71.2), ("re", 69.0)):
        setting = LARGE.setting(variant)
        write_run(str(tmp_path), setting, memory.name_of(setting))
        for seed in range(101, 107):
            ppl = level * (1 + 0.0001 * seed)
            write_trial(
                str(tmp_path), setting, memory.name_of(setting), f"confirm-paper-s{seed}", [ppl * 1.05], origin="paper",
                seed=seed, test_ppl=ppl * (1 + 1e-5 * seed * (variant == "re")),
            )  # fmt: skip
    found = {v.number: v for v in judge(load_results([str(tmp_path)]))}
    assert found[4].verdict == SUPPORTED
    assert found[1].verdict == found[8].verdict == NOT_ENOUGH


def test_records_of_names_that_the_registries_lack() -> None:
    rows = [
        row | {"corpus": "brown", "size": "huge", "study": f"s-{variant}"}
        for variant in VARIANTS
        for row in memory.confirm(Setting("ptb", "small", variant), memory.by_seed(80.0, key=variant))
    ]
    found = judge(memory.results(rows))
    assert {v.verdict for v in found} == {NOT_ENOUGH}
    assert "VD-LSTM+AL / VD-LSTM, brown huge" in {c.name for c in found[0].comparisons}


def test_only_some_claims(nothing: list[Verdict]) -> None:
    found = judge(memory.results(), only=[3, 12])
    assert [v.number for v in found] == [3, 12]
    assert found[0].test == nothing[2].test


def test_a_second_session_stands_for_no_setting_of_table_1() -> None:
    rows = []
    for variant in VARIANTS:
        setting = Setting("ptb", "large", variant)
        rows += memory.confirm(setting, memory.by_seed(70.0), max_epochs=300, second_session_epoch=151)
    found = judge(memory.results(rows), only=[4])[0]
    assert "not run: PTB large" in joined(found.missing)
