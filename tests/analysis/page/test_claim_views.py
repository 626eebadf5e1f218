"""Claims as the page, the CSV and the terminal show them."""

from __future__ import annotations

from typing import Any

from analysis.claims import judge
from analysis.claims.arms import Arm
from analysis.claims.comparisons import DISTANCE, Comparison
from analysis.claims.verdicts import CONTRADICTED, NOT_ENOUGH, SUPPORTED, Findings, Verdict
from analysis.page.citations import CitationIndex
from analysis.page.claim_views import CLAIMS, claim_views, claims_table, summary, tally
from analysis.records.load import Results
from analysis.records.sources import by_study, trial_keys


def verdict(number: int, kind: str, *comparisons: Comparison) -> Verdict:
    return Verdict(
        number=number,
        claim=f"Claim {number}.",
        where="section 6",
        test="A test.",
        compare=lambda arms: Findings(comparisons=comparisons),
        verdict=kind,
        effect=("1 of 2 comparisons shown", "A / B = 0.900 (0.850 to 0.950), p = 0.031, 6 seeds"),
        missing=() if kind == SUPPORTED else ("not run: PTB large", "run `python -m study.reproduce table1`"),
        comparisons=comparisons,
    )


STUDY = "real-small-ptb-0a1b2c3d"
ARM = Arm(place="PTB small", label="VD-LSTM+REAL", trials=trial_keys(STUDY, ["confirm-paper-s101"]))
SHOWN = Comparison(
    name="A / B", num=6, effect=0.9, low=0.85, high=0.95, p=0.03125, p_holm=0.0625, decision="shown", arms=(ARM,)
)
OPEN = Comparison(name="C / B", num=2, effect=1.05, note="one", more="about 6 seeds in all, 2 so far")
NOT_RUN = Comparison(name="D / B", arms=(Arm(place="PTB small", label="VD-LSTM", lacks="not run"),))
BESIDE = Comparison(
    name="E / B", measure=DISTANCE, num=3, unit="runs", effect=0.06, low=0.05, high=0.07, decision="aside"
)


def views(example: Results, *verdicts: Verdict) -> tuple[Any, ...]:
    return claim_views(verdicts, CitationIndex(example))


def test_verdicts_become_styles(example: Results) -> None:
    found = views(example, verdict(1, SUPPORTED), verdict(2, CONTRADICTED), verdict(3, NOT_ENOUGH))
    assert [claim.kind for claim in found] == ["supported", "contradicted", "open"]


def test_a_comparison_is_rounded_and_cites_its_trials(example: Results) -> None:
    (claim,) = views(example, verdict(1, NOT_ENOUGH, SHOWN, OPEN, NOT_RUN, BESIDE))
    first, second, third, fourth = claim.comparisons
    assert (first.effect, first.p, first.p_holm) == ("0.900 (0.850 to 0.950)", "0.031", "0.062")
    assert [(c.study, len(c.trials)) for c in first.cited] == [(STUDY, 1)]
    assert (second.effect, second.p, second.cited) == ("1.050", "", ())
    assert second.comparison.notes == ("one", "about 6 seeds in all, 2 so far")
    assert (third.effect, third.strip, third.comparison.notes) == ("", None, ("not run",))
    assert fourth.effect == "0.06 (0.05 to 0.07)"


def test_effects_of_one_measure_are_drawn_on_one_line(example: Results) -> None:
    (claim,) = views(example, verdict(1, NOT_ENOUGH, SHOWN, OPEN, BESIDE))
    first, second, beside = (row.strip for row in claim.comparisons)
    assert 0.0 <= first.low < first.at < first.high < first.reference < second.at <= 100.0
    assert first.reference == second.reference
    assert (second.low, second.high) == (None, None)
    assert beside.reference is None
    assert 0.0 <= beside.low < beside.at < beside.high <= 100.0


def test_one_value_alone_stands_in_the_middle(example: Results) -> None:
    alone = Comparison(name="F", measure=DISTANCE, num=1, effect=0.06)
    (claim,) = views(example, verdict(1, NOT_ENOUGH, alone))
    assert claim.comparisons[0].strip.at == 50.0


def test_the_tally_counts_what_the_claims_name(example: Results) -> None:
    against = Comparison(name="G / B", effect=1.2, decision="against")
    found = views(example, verdict(1, NOT_ENOUGH, SHOWN, OPEN, NOT_RUN, BESIDE), verdict(2, CONTRADICTED, against))
    assert tally(found) == (
        "The claims rest on 4 comparisons, of which 3 can be made so far: 1 as claimed, 1 against, 1 open."
    )
    assert tally(views(example, verdict(1, NOT_ENOUGH, NOT_RUN))) == ""


def test_the_claims_are_a_table_too(example: Results) -> None:
    verdicts = judge(example)
    table = claims_table(verdicts)
    assert table.name == CLAIMS
    assert [row.values()["verdict"] for row in table.rows] == [v.verdict for v in verdicts]
    behind = {(row, study, ids) for _, row, _, study, ids in table.provenance().itertuples(index=False)}
    assert behind == {
        (f"claim {v.number}: {c.name}", study, ids)
        for v in verdicts
        for c in v.comparisons
        for study, ids in by_study(c.trials).items()
    }
    assert len(behind) > 50


def test_the_summary_names_the_claims() -> None:
    verdicts = [verdict(1, SUPPORTED), verdict(2, NOT_ENOUGH), verdict(3, NOT_ENOUGH)]
    assert summary(verdicts) == "Claims: 1 supported (1); 2 not enough evidence (2, 3)"
