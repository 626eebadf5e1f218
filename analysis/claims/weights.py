"""Claims about trained weights: the subspaces of W and L (7, section 6.2), and predicted words (10, section 6.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import paper
from analysis.claims.arms import NOT_RUN, Arm, Arms
from analysis.claims.comparisons import (
    AGAINST,
    ALPHA,
    ASIDE,
    DISTANCE,
    OPEN,
    PROBABILITY_RATIO,
    SHOWN,
    Comparison,
    below,
)
from analysis.claims.perplexity import ELSE, LARGE, RULE, Place
from analysis.claims.verdicts import Claim, Findings
from analysis.measures.figure1 import last_epochs, other_setting
from analysis.records.names import place_name
from analysis.records.sources import TrialKey, keys_of
from analysis.stats.intervals import t_interval
from study.records.records import Setting
from trainables.data.phrases import NAMED_WORDS
from trainables.recipes import FIGURE1, TARGET_GRADIENTS

_FIGURE_1 = "python -m study.reproduce figure1"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A setting of section 6.2 for which the paper's text states the distance, and the range that agrees with it."""

    beta: float
    tau: float
    low: float
    high: float


def _reading(panel: str, beta: float, tau: float | None) -> paper.FigureReading:
    return next(r for r in paper.FIGURE_1 if (r.panel, r.beta, r.tau) == (panel, beta, tau))


_ALMOST_ONE, _AROUND, _AXIS = _reading("a", 0.0, 10.0), _reading("a", 1.0, 10.0), _reading("b", 1.0, None)
_MIDDLE = (_AROUND.low + _AROUND.high) / 2
POINTS = (
    Point(beta=0.0, tau=10.0, low=_ALMOST_ONE.low, high=_ALMOST_ONE.high),
    Point(beta=1.0, tau=10.0, low=_MIDDLE / 2, high=_MIDDLE * 2),
    Point(beta=1.0, tau=2.0, low=0.0, high=_AXIS.high),
)
"""Near 1, near .06 (a factor of two either way), and small: no higher than panel b's axis."""


def _augmented_loss_aligns(arms: Arms) -> Findings:
    order = (FIGURE1.target_gradient, *(g for g in TARGET_GRADIENTS if g != FIGURE1.target_gradient))
    last = {gradient: last_epochs(arms.results, gradient) for gradient in order}
    comparisons = [_at_point(point, last[gradient], gradient) for gradient in order for point in POINTS]
    return Findings(comparisons=[c for c in comparisons if c.named or c.num])


def _at_point(point: Point, last: pd.DataFrame, gradient: str) -> Comparison:
    runs = last[last["done"] & np.isclose(last["beta"], point.beta) & np.isclose(last["tau"], point.tau)].sort_values(
        "seed"
    )
    named = gradient == FIGURE1.target_gradient
    where = f"beta {point.beta:g}, tau {point.tau:g}" + ("" if named else f", gradient {gradient}")
    arm = Arm(
        place="section 6.2", label=where, command=_FIGURE_1, trials=keys_of(runs),
        lacks=NOT_RUN if runs.empty else ", ".join(other_setting(runs)),
    )  # fmt: skip
    made = Comparison(
        name=f"distance at {where}", measure=DISTANCE, unit="runs", named=named, arms=(arm,), num=len(runs),
        decision=OPEN if named else ASIDE,
    )  # fmt: skip
    if runs.empty:
        return made
    distances = runs["subspace_distance"].astype(float).tolist()
    mean, sd, low, high, reason = t_interval(distances)
    made = replace(made, effect=mean, low=low, high=high, note=reason or f"agrees: {point.low:.3g} to {point.high:.3g}")
    if not named or not made.usable:
        return made
    if low is None or high is None:
        return replace(made, more="at least 3 runs", num_needed=3)
    _, _, strict_low, strict_high, _ = t_interval(distances, confidence=1 - ALPHA / len(POINTS))
    if point.low <= low and high <= point.high:
        return replace(made, decision=SHOWN)
    if strict_low is not None and strict_high is not None and (strict_low > point.high or strict_high < point.low):
        return replace(made, decision=AGAINST)
    return replace(made, more=f"more runs than {len(runs)}", num_needed=max(len(runs) + 1, paper.FIGURE_1_RUNS))


def _real_predicts_fewer_frequent_words(arms: Arms) -> Findings:
    mass = arms.results.word_mass
    found = mass.loc[mass["split"] == "test", ["corpus", "size"]].drop_duplicates()
    others = [Place(*row) for row in found.itertuples(index=False) if Place(*row) != LARGE]
    comparisons = [c for place in (LARGE, *others) for c in _masses(arms, place, "mean_probability_elsewhere")]
    overall = _masses(arms, LARGE, "mean_probability")
    return Findings(comparisons=[*comparisons, *(c for c in overall if c.num)])


def _masses(arms: Arms, place: Place, column: str) -> Iterator[Comparison]:
    elsewhere = column == "mean_probability_elsewhere"
    for word in NAMED_WORDS:
        real, base = (_mass(arms, place.setting(variant), word, column) for variant in ("real", "baseline"))
        yield below(
            f'P("{word}") of REAL / VD-LSTM{"" if elsewhere else " over all positions"}, {place_name(*place)}',
            real.values, base.values, arms=(real, base), family=len(NAMED_WORDS), equal_is_against=False, in_ppl=False,
            measure=PROBABILITY_RATIO, named=elsewhere and place == LARGE,
        )  # fmt: skip


def _mass(arms: Arms, setting: Setting, word: str, column: str) -> Arm:
    """The mean probability of a word by seed, from the confirmed trials that stand for the setting in Table 1."""
    arm, mass = arms.recipe(setting), arms.results.word_mass
    own = mass[(mass["split"] == "test") & (mass["word"] == word) & (mass[column].astype(float) > 0)]
    own = own.merge(pd.DataFrame(arm.trials, columns=list(TrialKey._fields)))
    values = {int(seed): float(p) for seed, p in zip(own["seed"], own[column], strict=True)}
    lacks = arm.lacks or ("" if values else "predictions not recorded")
    command = arm.command if arm.lacks else "python -m study.reproduce table4"
    return replace(arm, values=values, lacks=lacks, command=command, trials=keys_of(own))


CLAIMS = (
    Claim(
        number=7,
        claim="The augmented loss alone drives the output projection W towards the input embedding L.",
        where="section 6.2, Figure 1",
        test=f"""The distance of appendix B after the last epoch of section 6.2's experiment, at three points: beta 0
        (tau 10), "almost 1": {POINTS[0].low:g} to {POINTS[0].high:g}; beta 1 (tau 10), "around 0.06":
        {POINTS[1].low:g} to {POINTS[1].high:g}, a factor of two either way, since the paper does not say how long it
        trained; beta 1, tau 2, "sufficiently" near: at most {POINTS[2].high:.2g}, the top of panel b's axis. Supported:
        the 95 % t-interval over runs lies within the range at all three. Contradicted: at any of them the interval at
        confidence 1 - .05 / 3 lies wholly outside{ELSE} What the paper leaves open (optimiser,
        length of training, whether gradient passes through the target) is as in trainables/recipes.py; the other way
        of the gradient is shown beside it, where it was run.""",
        compare=_augmented_loss_aligns,
    ),
    Claim(
        number=10,
        claim="REAL gives lower probability to <unk> and to very frequent words than the baseline.",
        where="section 6.4, Table 4",
        test=f"""PTB, large: the mean probability that REAL and VD-LSTM give to each of {", ".join(NAMED_WORDS)} over
        the positions of the test split where another word follows, on ln(probability): four comparisons.
        {RULE.replace("Means of ln(test perplexity) under", "Under")}. No margin of equality applies{ELSE}""",
        compare=_real_predicts_fewer_frequent_words,
    ),
)
