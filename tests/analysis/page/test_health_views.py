"""Health checks as the CSV and the terminal show them."""

from __future__ import annotations

from analysis.health import Check
from analysis.page.citations import CitationIndex
from analysis.page.health_views import check_groups, health_table, summary
from analysis.records.load import Results

CHECKS = [
    Check(name="code", level="problem", message="two commits", studies=("a", "b"), trial_ids=("x",)),
    Check(name="seeds", level="warning", message="few", studies=("a",), trial_ids=("x", "y")),
    Check(name="corpus", level="ok", message="one checksum"),
]


def test_the_checks_are_a_table_too() -> None:
    table = health_table(CHECKS)
    assert [row.data["level"] for row in table.rows] == ["problem", "warning", "ok"]
    assert table.rows[0].data["studies"] == "a b"
    assert [tuple(source) for source in table.sources] == [("seeds", "message", "a", "x y")]


def test_findings_of_one_check_and_level_stand_together(example: Results) -> None:
    more = [*CHECKS[:2], Check(name="seeds", level="warning", message="b: one", studies=("b",)), CHECKS[2]]
    groups = check_groups(more, CitationIndex(example))
    assert [(group.level, group.name) for group in groups] == [
        ("problem", "code"), ("warning", "seeds"), ("ok", "corpus"),
    ]  # fmt: skip
    assert [check.message for check in groups[1].checks] == ["few", "one"]
    assert [(check.num_trials, check.is_long) for check in groups[1].checks] == [(2, True), (0, False)]


def test_the_summary_counts() -> None:
    assert summary(CHECKS) == "Health: 1 problem, 1 warning"
    assert summary([]) == "Health: 0 problems, 0 warnings"
