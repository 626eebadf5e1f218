"""The claims page: each claim of the paper, and two of our own, as one test stated before the data.

To add one, write its test as a function from ``Arms`` to ``Findings`` and add a ``Claim`` to a module's ``CLAIMS``.
"""

from __future__ import annotations

from collections.abc import Collection

from analysis.claims import perplexity as perplexity_claims
from analysis.claims import search as search_claims
from analysis.claims import tuned as tuned_claims
from analysis.claims import weights as weights_claims
from analysis.claims.arms import Arms
from analysis.claims.verdicts import CONTRADICTED, NOT_ENOUGH, SUPPORTED, Claim, Verdict, conclude
from analysis.records.load import Results

__all__ = ["CLAIMS", "CONTRADICTED", "NOT_ENOUGH", "SUPPORTED", "Claim", "Verdict", "judge"]

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (
            *perplexity_claims.CLAIMS,
            *tuned_claims.CLAIMS,
            *search_claims.CLAIMS,
            *weights_claims.CLAIMS,
        ),
        key=lambda claim: claim.number,
    )
)
"""In the order of their numbers."""


def judge(results: Results, *, only: Collection[int] | None = None) -> list[Verdict]:
    """The verdict of every claim, whatever the records hold; or of some, by their numbers."""
    arms = Arms(results)
    return [conclude(claim, claim.compare(arms)) for claim in CLAIMS if only is None or claim.number in only]
