"""Importances by Optuna's PED-ANOVA, and how far their ranks move."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.stats.importance import MIN_TOP, importance_ranks


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
        frame = importance_ranks(pd.DataFrame(params), np.full(8, 4.0))
        assert set(frame["parameter"]) == set(params)
        assert (frame["importance"] == 0.0).all()


def test_ties_at_the_edge_are_all_among_the_best() -> None:
    params, _ = draws(30, 4)
    loss = np.repeat([1.0, 2.0, 3.0], 10)  # the best quarter are 8 of the 10 that tie
    shuffled = np.r_[np.random.default_rng(0).permutation(10), 10:30]
    frames = [importance_ranks(params.iloc[order], loss, num_bootstrap=1) for order in (np.arange(30), shuffled)]
    assert frames[0]["importance"].tolist() == pytest.approx(frames[1]["importance"].tolist())


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
        importance_ranks(pd.DataFrame(params), np.array(loss))


def test_what_matters_comes_first_and_its_rank_does_not_move() -> None:
    params, loss = draws(200, 3)
    frame = importance_ranks(params, loss)
    assert frame["parameter"].tolist()[:2] == ["lr", "drop_prob"]
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5]
    assert frame["importance"].is_monotonic_decreasing
    assert frame["importance"].sum() == pytest.approx(1.0)
    assert (frame["rank_low"] <= frame["rank_high"]).all()
    first = frame.iloc[0]
    assert (first["rank_low"], first["rank_high"]) == (1.0, 1.0)
    assert set(frame["num_trials"]) == {200}
    assert frame["reason"].isna().all()
    pd.testing.assert_frame_equal(frame, importance_ranks(params, loss))


def test_ranks_of_pure_noise_move_over_everything() -> None:
    params, _ = draws(40, 5)
    frame = importance_ranks(params, np.random.default_rng(0).normal(size=40))
    assert (frame["rank_high"] - frame["rank_low"]).mean() > 2.0


def test_too_few_of_the_best_carry_no_interval() -> None:
    frame = importance_ranks(*draws(16, 6))
    assert frame["rank_low"].isna().all()
    assert frame["rank_high"].isna().all()
    assert set(frame["reason"]) == {f"4 of 16 trials are too few to count as the best, it takes {MIN_TOP}"}
    assert importance_ranks(*draws(17, 6), num_bootstrap=5)["rank_low"].notna().all()
