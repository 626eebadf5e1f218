"""The plateau: the region of tau and gamma in which a search's trials are within a margin of its best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.parameters import on_scale
from analysis.records.studies import SettingStudy
from analysis.records.trials import diverged
from analysis.stats.contrasts import MARGIN_PPL

PARAMETERS = ("tau", "gamma")
_NUM_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """The trials of a search within ``MARGIN_PPL`` of its best, and the area around them."""

    best_ppl: float
    """Lowest validation perplexity of the search."""
    share_area: float
    """Share of the rectangle of log(tau) and gamma that the trials span whose nearest trial is within the margin."""
    share_random: float | None
    """Share of the random draws within the margin; None without one. No interval: the margin counts from the best value
    of the very same search."""
    trial_ids: tuple[str, ...]
    """The trials within the margin."""


def plateau(study: SettingStudy) -> Plateau | None:
    """The plateau of a study in tau and gamma; None where it searches neither or fewer than two trials have ended.

    Each point of the rectangle (100 x 100 points, evenly in log(tau) and in gamma) takes the perplexity of the
    nearest trial. The other parameters are whatever that trial had, so a point outside the plateau need not be bad
    for its tau and gamma: the area is a lower bound of what is possible with them.
    """
    search = study.search
    ended = search[(search["status"] == "complete") | diverged(search)]
    ended = ended[ended[list(PARAMETERS)].notna().all(axis=1)]
    # A diverged trial may have had a good epoch before; it is no configuration to recommend.
    ppl = ended["best_valid_ppl"].astype(float).where(ended["status"] == "complete").fillna(np.inf).to_numpy()
    if len(ended) < 2 or not np.isfinite(ppl).any():
        return None
    points = np.column_stack([on_scale(name, ended[name]) for name in PARAMETERS])
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    if not (span > 0).all():
        return None
    points = (points - low) / span
    within, random = ppl <= ppl.min() + MARGIN_PPL, (ended["block"] == "random").to_numpy()
    steps = (np.arange(_NUM_STEPS) + 0.5) / _NUM_STEPS
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 1, 2)
    nearest = ((grid - points) ** 2).sum(axis=-1).argmin(axis=1)
    return Plateau(
        best_ppl=float(ppl.min()),
        share_area=float(within[nearest].mean()),
        share_random=float(within[random].mean()) if random.any() else None,
        trial_ids=tuple(ended.loc[within, "trial_id"]),
    )
