"""The health checks as the page, the CSV and the terminal show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.health import PROBLEM, WARNING, Check
from analysis.page.citations import CitationIndex, Cited
from analysis.tables.table import Column, Measured, Row, Table, plain

HEALTH = "health"
"""Name of the table of checks."""
_SHORT = 3
"""Studies that are named on a finding's own line."""


@dataclass(frozen=True, kw_only=True)
class CheckView:
    """One finding."""

    message: str
    cited: tuple[Cited, ...]
    """Its trials."""
    studies: tuple[tuple[str, str], ...]
    """(name, anchor)."""

    @property
    def num_trials(self) -> int:
        """Number of trials it names."""
        return sum(len(cited.trials) for cited in self.cited)

    @property
    def is_long(self) -> bool:
        """Whether it names more than fits on its line."""
        return len(self.studies) > _SHORT or bool(self.num_trials)


@dataclass(frozen=True, kw_only=True)
class CheckGroup:
    """The findings of one check at one level."""

    name: str
    level: str
    checks: tuple[CheckView, ...]


def check_groups(checks: Iterable[Check], citation_index: CitationIndex) -> tuple[CheckGroup, ...]:
    """Views of the checks, in their order; their trials are cited in the index."""
    groups: dict[tuple[str, str], list[CheckView]] = {}
    for check in checks:
        view = CheckView(
            message=check.message if check.subject else check.text,  # its studies are named beside it
            cited=citation_index.cite(check.trials),
            studies=tuple((study, citation_index.anchor(study)) for study in check.studies),
        )
        groups.setdefault((check.level, check.name), []).append(view)
    return tuple(CheckGroup(name=name, level=level, checks=tuple(own)) for (level, name), own in groups.items())


def health_table(checks: Sequence[Check]) -> Table:
    """The checks as a table, for Markdown, CSV and the terminal."""
    columns = (
        Column(title="Level", cell=plain("level"), left=True),
        Column(title="Check", cell=plain("check"), left=True),
        Column(title="Found", cell=plain("message"), left=True),
    )
    rows = tuple(
        Row(
            name=check.name,
            data={
                "level": check.level, "check": check.name, "message": Measured(check.message, check.trials),
                "studies": check.studies, "trial_ids": tuple(key.trial_id for key in check.trials),
            },
        )
        for check in checks
    )  # fmt: skip
    return Table(
        name=HEALTH,
        title="Health checks",
        caption="A problem makes numbers wrong or comparisons unfair; a warning is what a reader must know.",
        rows=rows,
        columns=columns,
        narrow=columns,
    )


def summary(checks: Iterable[Check]) -> str:
    """Numbers of problems and warnings."""
    levels = Counter(check.level for check in checks)
    counts = [f"{levels[level]} {level}{'s' if levels[level] != 1 else ''}" for level in (PROBLEM, WARNING)]
    return f"Health: {', '.join(counts)}"
