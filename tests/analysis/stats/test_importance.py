"""Importances by Optuna's PED-ANOVA and their permutation null."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.stats.importance import ped_anova


def draws(num: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Independent draws and a loss in which lr matters most, then drop_prob; one choice does not."""
    rng = np.random.default_rng(seed)
    params = pd.DataFrame(
        {
            "lr": np.exp(rng.uniform(math.log(0.3), math.log(3.0), num)),
            "drop_prob": rng.uniform(0.1, 0.8, num),
            "lr_decay_start_epoch": rng.integers(1, 21, num),
            "target_gradient": rng.choice(["flow", "stop"], num),
            "input_dropout": rng.choice([False, True], num),
        }
    )
    loss = 4.0 + np.log(params["lr"]) ** 2 + 0.5 * params["drop_prob"] + 0.1 * (params["target_gradient"] == "flow")
    return params, (loss + 0.1 * rng.normal(size=num)).to_numpy()


def test_nothing_varies_nothing_matters() -> None:
    for params in ({"lr": [1.0] * 8, "target_gradient": ["flow"] * 8}, {"lr": np.arange(1.0, 9.0)}):
        found = ped_anova(pd.DataFrame(params), np.full(8, 4.0))
        assert (found.shares, found.null) == (dict.fromkeys(params, 0.0), 0.0)


def test_ties_at_the_edge_are_all_among_the_best() -> None:
    params, _ = draws(30, 4)
    loss = np.repeat([1.0, 2.0, 3.0], 10)  # the best quarter are 8 of the 10 that tie
    shuffled = np.r_[np.random.default_rng(0).permutation(10), 10:30]
    one, two = (ped_anova(params.iloc[order], loss).shares for order in (np.arange(30), shuffled))
    assert one == pytest.approx(two)


@pytest.mark.parametrize(
    ("params", "loss", "message"),
    [
        ({"lr": [1.0]}, [1.0, 2.0], "a loss for each trial, got 2 for 1 trials"),
        ({"lr": []}, [], "a loss for each trial, got 0 for 0 trials"),
        ({"lr": [1.0, 2.0]}, [1.0, math.inf], "losses must be finite"),
        ({"lr": [1.0, None], "tau": [2.0, 3.0]}, [1.0, 2.0], "every parameter, missing in lr"),
    ],
)
def test_bad_input_is_refused(params: dict, loss: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ped_anova(pd.DataFrame(params), np.array(loss))


def test_what_matters_most_comes_first_and_above_the_null() -> None:
    found = ped_anova(*draws(200, 3))
    assert list(found.shares)[:2] == ["lr", "drop_prob"]
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.shares["lr"] > found.null > found.shares["lr_decay_start_epoch"]
    assert found == ped_anova(*draws(200, 3))


def test_of_nineteen_draws_of_noise_few_pass_the_null() -> None:
    """5 % of studies do; of six, three or more have a chance of .2 %. (8 of 150 did in one run.)"""
    rng = np.random.default_rng(1)
    found = [ped_anova(draws(19, i)[0], rng.normal(size=19)) for i in range(6)]
    assert np.mean([max(one.shares.values()) for one in found]) > 0.3  # and yet one parameter has the largest share
    assert sum(max(one.shares.values()) > one.null for one in found) <= 2
