"""Health checks: faults of the records that no table shows.

A *problem* makes numbers wrong or comparisons unfair; ``--strict`` fails on problems alone. A *warning* is something
that a reader must know: a study is unfinished, too small, or was run with several versions of code or software.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from analysis.health import confirmation as health_of_confirmation
from analysis.health import runs as health_of_runs
from analysis.health import search as health_of_search
from analysis.health.check import OK, PROBLEM, WARNING, Check, Fault, merge
from analysis.records.load import Results

__all__ = ["CHECKS", "OK", "PROBLEM", "WARNING", "Check", "HealthCheck", "check_health"]


class HealthCheck(NamedTuple):
    """One check."""

    name: str
    ok: str
    """Text if nothing was found."""
    find: Callable[[Results], Iterator[Fault]]


CHECKS = (
    HealthCheck("equal budgets", "the variants of a corpus and size have equal budgets", health_of_runs.budgets),
    HealthCheck("unfinished", "every study has all of its planned trials", health_of_runs.unfinished),
    HealthCheck(
        "code", "one version of the arithmetic for each corpus and size, nothing uncommitted", health_of_runs.code
    ),
    HealthCheck("software", "one version of each package for each corpus and size", health_of_runs.software),
    HealthCheck("corpus", "one checksum for each corpus", health_of_runs.corpora),
    HealthCheck("precision", "one precision for each corpus and size", health_of_runs.precisions),
    HealthCheck("trial length", "no trial is shorter than the recipe", health_of_runs.lengths),
    HealthCheck("range edge", "no best configuration lies at the edge of its range", health_of_search.edges),
    HealthCheck("failed trials", "few trials diverged, none died", health_of_search.failures),
    HealthCheck("random draws", "enough random draws to rank parameters", health_of_search.random_draws),
    HealthCheck("early stopping", "ASHA would have stopped no good trial", health_of_search.early_stopping),
    HealthCheck("test split", "the test split was read once the search had ended", health_of_confirmation.test_split),
    HealthCheck("confirmation", "every confirm trial came to its end", health_of_confirmation.endings),
    HealthCheck("number of seeds", "six seeds or more", health_of_confirmation.too_few_seeds),
    HealthCheck("fresh seeds", "no confirm seed was used by the search", health_of_confirmation.fresh_seeds),
    HealthCheck("paired seeds", "the same seeds throughout a corpus and size", health_of_confirmation.paired_seeds),
    HealthCheck("added seeds", "no seeds were added after a look", health_of_confirmation.added_seeds),
    HealthCheck("duplicates", "no trial counts twice", health_of_confirmation.duplicates),
)


def check_health(results: Results) -> list[Check]:
    """Runs all checks: problems first, then warnings, then ``ok`` for each check that found nothing."""
    checks = []
    for check in CHECKS:
        nothing = [Check(name=check.name, level=OK, text="nothing on record yet" if results.is_empty else check.ok)]
        checks += merge(check.name, check.find(results)) or nothing
    order = (PROBLEM, WARNING, OK)
    return sorted(checks, key=lambda check: order.index(check.level))
