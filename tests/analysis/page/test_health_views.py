"""Health checks as the CSV and the terminal show them."""

from __future__ import annotations

from analysis.health import Check
from analysis.page.citations import CitationIndex
from analysis.page.health_views import check_groups, health_table, summary
from analysis.records.load import Results
from analysis.records.sources import trial_keys

CHECKS = [
    Check(name="code", level="problem", text="two commits", subject="PTB small", studies=("a", "b")),
    Check(name="seeds", level="warning", text="few", studies=("a",), trials=trial_keys("a", "xy")),
    Check(name="corpus", level="ok", text="one checksum"),
]


def test_the_checks_are_a_table_too() -> None:
    table = health_table(CHECKS)
    assert [row.values()["level"] for row in table.rows] == ["problem", "warning", "ok"]
    assert [row.values()["message"] for row in table.rows] == ["PTB small: two commits", "a: few", "one checksum"]
    assert table.rows[0].values()["studies"] == ("a", "b")
    assert table.provenance().to_numpy().tolist() == [["health", "seeds", "message", "a", ("x", "y")]]


def test_findings_of_one_check_and_level_stand_together(example: Results) -> None:
    more = [*CHECKS[:2], Check(name="seeds", level="warning", text="one", studies=("b",)), CHECKS[2]]
    groups = check_groups(more, CitationIndex(example))
    assert [(group.level, group.name) for group in groups] == [
        ("problem", "code"), ("warning", "seeds"), ("ok", "corpus"),
    ]  # fmt: skip
    messages = [[check.message for check in group.checks] for group in groups]
    assert messages == [["PTB small: two commits"], ["few", "one"], ["one checksum"]]
    assert [(check.num_trials, check.is_long) for check in groups[1].checks] == [(2, True), (0, False)]


def test_the_summary_counts() -> None:
    assert summary(CHECKS) == "Health: 1 problem, 1 warning"
    assert summary([]) == "Health: 0 problems, 0 warnings"
