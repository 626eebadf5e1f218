"""Claims as the page, the CSV and the terminal show them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.claims import judge
from analysis.claims.verdicts import CONTRADICTED, NOT_ENOUGH, SUPPORTED, Verdict
from analysis.page.citations import CitationIndex
from analysis.page.claim_views import CLAIMS, claim_views, claims_table, summary, tally
from analysis.records.load import Results
from analysis.tables.table import Source

COLUMNS = ["comparison", "measure", "num", "unit", "effect", "low", "high", "p", "p_holm", "decision", "note"]
RATIO = "ratio of test perplexities"


def verdict(number: int, kind: str, *rows: tuple[Any, ...], sources: tuple[Source, ...] = ()) -> Verdict:
    return Verdict(
        number=number,
        claim=f"Claim {number}.",
        where="section 6",
        test="A test.",
        verdict=kind,
        effect="1 of 2 comparisons shown; A / B = 0.900 (0.850 to 0.950), p = 0.031, 6 seeds",
        missing="" if kind == SUPPORTED else "not run: PTB large; run `python -m study.reproduce table1`",
        details=pd.DataFrame(list(rows), columns=COLUMNS, dtype=object),
        sources=sources,
    )


SHOWN = ("A / B", RATIO, 6, "seeds", 0.9, 0.85, 0.95, 0.03125, 0.0625, "shown", "")
OPEN = ("C / B", RATIO, 2, "seeds", 1.05, None, None, None, None, "open", "about 6 seeds in all, 2 so far")
NOT_RUN = ("D / B", RATIO, 0, "seeds", None, None, None, None, None, "open", "not run")
BESIDE = ("E / B", "distance", 3, "runs", 0.06, 0.05, 0.07, None, None, "aside", "")


def views(example: Results, *verdicts: Verdict) -> tuple[Any, ...]:
    return claim_views(verdicts, CitationIndex(example))


def test_lines_become_lists_and_verdicts_become_styles(example: Results) -> None:
    found = views(example, verdict(1, SUPPORTED), verdict(2, CONTRADICTED), verdict(3, NOT_ENOUGH))
    assert [claim.kind for claim in found] == ["supported", "contradicted", "open"]
    assert found[0].found[0] == "1 of 2 comparisons shown"
    assert found[0].missing == ()
    assert found[2].missing == ("not run: PTB large", "run `python -m study.reproduce table1`")


def test_a_comparison_is_rounded_and_cites_its_trials(example: Results) -> None:
    study = "real-small-ptb-0a1b2c3d"
    source = Source("claim 1: A / B", "effect", study, "confirm-paper-s101")
    (claim,) = views(example, verdict(1, NOT_ENOUGH, SHOWN, OPEN, NOT_RUN, BESIDE, sources=(source,)))
    first, second, third, fourth = claim.comparisons
    assert (first.effect, first.p, first.p_holm, first.num) == ("0.900 (0.850 to 0.950)", "0.031", "0.062", "6 seeds")
    assert [(c.study, len(c.trials)) for c in first.cited] == [(study, 1)]
    assert (second.effect, second.p, second.cited) == ("1.050", "", ())
    assert (third.effect, third.strip) == ("", None)
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
    alone = ("F", "distance", 1, "runs", 0.06, None, None, None, None, "open", "")
    (claim,) = views(example, verdict(1, NOT_ENOUGH, alone))
    assert claim.comparisons[0].strip.at == 50.0


def test_the_tally_counts_what_the_claims_name(example: Results) -> None:
    against = ("G / B", RATIO, 6, "seeds", 1.2, 1.1, 1.3, 0.03, 0.04, "against", "the other way")
    found = views(example, verdict(1, NOT_ENOUGH, SHOWN, OPEN, NOT_RUN, BESIDE), verdict(2, CONTRADICTED, against))
    assert tally(found) == (
        "The claims rest on 4 comparisons, of which 3 can be made so far: 1 as claimed, 1 against, 1 open."
    )
    assert tally(views(example, verdict(1, NOT_ENOUGH, NOT_RUN))) == ""


def test_the_claims_are_a_table_too(example: Results) -> None:
    verdicts = judge(example)
    table = claims_table(verdicts)
    assert table.name == CLAIMS
    assert [row.data["verdict"] for row in table.rows] == [v.verdict for v in verdicts]
    assert len(table.provenance()) == sum(len(v.sources) for v in verdicts) > 0


def test_the_summary_names_the_claims() -> None:
    verdicts = [verdict(1, SUPPORTED), verdict(2, NOT_ENOUGH), verdict(3, NOT_ENOUGH)]
    assert summary(verdicts) == "Claims: 1 supported (1); 2 not enough evidence (2, 3)"
