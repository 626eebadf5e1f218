"""Costs of steps in one parameter among random draws, and rank tests within studies."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis.stats.draws import draws_for_rank_test, step_costs, stratified_rank_test

CENTRES = {"tau": 20.0, "gamma": 0.65}


def draws(
    num: int, rng: np.random.Generator, *, step: float = 0.0, noise: float = 0.02, study: str = "s"
) -> pd.DataFrame:
    """Random draws; a moderate step in tau costs ``step``, drop_prob and lr matter much."""
    frame = pd.DataFrame(
        {
            "study": study,
            "drop_prob": rng.uniform(0.1, 0.8, num),
            "input_dropout": rng.integers(0, 2, num).astype(bool),
            "lr": np.exp(rng.uniform(math.log(0.3), math.log(3.0), num)),
            "lr_decay": rng.uniform(0.8, 0.98, num),
            "lr_decay_start_epoch": rng.integers(1, 21, num),
            "max_grad_norm": np.exp(rng.uniform(math.log(2), math.log(15), num)),
            "init_range": np.exp(rng.uniform(math.log(0.02), math.log(0.15), num)),
            "gamma": rng.uniform(0.3, 2.0, num),
            "tau": np.exp(rng.uniform(math.log(2), math.log(80), num)),
            "target_gradient": rng.choice(["flow", "stop"], num),
        }
    )
    off = np.abs(np.log(frame["tau"] / 20.0))
    effect = np.where(off > math.log(2), 0.3, np.where(off > math.log(2) / 2, step, 0.0))
    loss = 4.5 + effect + (frame["drop_prob"] - 0.3) ** 2 + 0.1 * np.log(frame["lr"]) ** 2
    return frame.assign(loss=loss + rng.normal(0.0, noise, num))


def test_without_noise_the_cost_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    both = pd.concat([draws(60, rng, step=0.05, noise=0.0), draws(60, rng, step=0.05, noise=0.0, study="t")])
    both.loc[both["study"] == "t", "loss"] += 0.4  # studies differ in level
    found = step_costs(both, CENTRES)
    assert found["tau"].mean == pytest.approx(0.05, abs=1e-9)
    assert found["gamma"].mean == pytest.approx(0.0, abs=1e-9)
    off = np.abs(np.log(both["tau"] / 20.0))
    assert found["tau"].num_near == (off <= math.log(2) / 2).sum()
    assert found["tau"].num_moderate == ((off > math.log(2) / 2) & (off <= math.log(2))).sum()


def test_a_diverged_draw_counts_as_the_worst_of_its_study() -> None:
    rng = np.random.default_rng(1)
    frame = draws(100, rng)
    worst = frame["loss"].max()
    row = frame.index[frame["tau"].between(30, 40)][0]
    diverged, bad = frame.copy(), frame.copy()
    diverged.loc[row, "loss"], bad.loc[row, "loss"] = np.inf, worst
    assert step_costs(diverged, CENTRES) == step_costs(bad, CENTRES)


@pytest.mark.parametrize("num", [0, 5, 20])
def test_too_few_draws_give_nothing(num: int) -> None:
    assert step_costs(draws(num, np.random.default_rng(2)), CENTRES) == {}


def test_all_diverged_gives_nothing() -> None:
    assert step_costs(draws(50, np.random.default_rng(2)).assign(loss=np.inf), CENTRES) == {}


@pytest.mark.slow
def test_the_interval_covers_the_truth() -> None:
    """95 %, at 80 draws with noise that grows with the loss and a misfit of the covariates."""
    rng, covered, num = np.random.default_rng(3), 0, 400
    for _ in range(num):
        frame = draws(80, rng, step=0.02, noise=0.0)
        wild = 0.05 * np.abs(np.log(frame["lr"])) + 0.02
        frame["loss"] += rng.normal(0.0, wild) + 0.1 * (frame["drop_prob"] > 0.6)
        low, high = step_costs(frame, CENTRES)["tau"].interval()
        covered += low <= 0.02 <= high
    assert 0.92 <= covered / num <= 0.99


def test_one_stratum_is_the_wilcoxon_test() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.0, 1.0, 7), rng.normal(0.8, 1.0, 9)
    found = stratified_rank_test([(a, b)])
    assert found is not None
    chance, p_value = found
    exact = scipy.stats.mannwhitneyu(a, b, method="exact")
    assert p_value == pytest.approx(exact.pvalue, abs=0.012)
    assert chance == pytest.approx(1 - exact.statistic / 63)


def test_levels_of_strata_do_not_matter_and_infinite_losses_are_last() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([5.0, 6.0, 7.0, np.inf])
    once = stratified_rank_test([(a, b), (a + 100, b + 100)])
    assert once is not None
    assert once[0] == 1.0
    assert once[1] == pytest.approx(2 / 70**2, abs=0.001)
    assert stratified_rank_test([(a, b), (a, np.array([]))]) == stratified_rank_test([(a, b)])
    assert stratified_rank_test([(a, np.array([]))]) is None
    assert stratified_rank_test([(np.ones(4), np.ones(4))]) == (0.5, 1.0)


@pytest.mark.slow
def test_the_rank_test_keeps_its_level_and_the_planned_power() -> None:
    rng, num = np.random.default_rng(5), 300
    shift = 0.8
    chance = float(scipy.stats.norm.cdf(shift / math.sqrt(2)))
    planned = draws_for_rank_test(chance)
    assert planned is not None
    false, true = 0, 0
    for _ in range(num):
        null = stratified_rank_test([(rng.normal(0, 1, 5), rng.normal(0, 1, 4)) for _ in range(3)])
        real = stratified_rank_test([(rng.normal(0, 1, planned // 2), rng.normal(shift, 1, planned - planned // 2))])
        assert null is not None
        assert real is not None
        false += null[1] <= 0.05
        true += real[1] <= 0.05
    assert false / num <= 0.08
    assert 0.72 <= true / num <= 0.9


def test_no_difference_needs_no_number() -> None:
    assert draws_for_rank_test(0.5) is None
    assert draws_for_rank_test(1.0) == 11
    assert draws_for_rank_test(0.0) == 11
