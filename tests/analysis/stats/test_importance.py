"""PED-ANOVA against Optuna's, and how far its ranks move."""

from __future__ import annotations

import math
import warnings

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.stats.importance import MIN_TOP, importance_ranks, ped_anova

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.3, 3.0, log=True),
    "drop_prob": FloatDistribution(0.1, 0.8),
    "lr_decay_start_epoch": IntDistribution(1, 20),
    "target_gradient": CategoricalDistribution(("flow", "stop")),
    "input_dropout": CategoricalDistribution((False, True)),
}
DOMAINS = {
    name: d.choices if isinstance(d, CategoricalDistribution) else (d.low, d.high)  # type: ignore[attr-defined]
    for name, d in SPACE.items()
}


def draws(num: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Independent draws from ``SPACE`` and a loss in which lr matters most, then drop_prob; one choice does not."""
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


def optunas(params: pd.DataFrame, loss: np.ndarray, quantile: float) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    for row, value in zip(params.to_dict("records"), loss, strict=True):
        trial = optuna.trial.create_trial(params=row, distributions=SPACE, value=float(value))
        study.add_trial(trial)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


@pytest.mark.parametrize("quantile", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("num", [7, 20, 80])
def test_the_numbers_are_optunas(num: int, quantile: float) -> None:
    for seed in range(3):
        params, loss = draws(num, seed)
        expected = optunas(params, loss, quantile)
        found = ped_anova(params, loss, quantile=quantile, domains=DOMAINS)
        assert found == pytest.approx(expected, abs=1e-12)


def test_ties_at_the_edge_are_all_among_the_best() -> None:
    params, _ = draws(30, 4)
    loss = np.repeat([1.0, 2.0, 3.0], 10)
    assert ped_anova(params, loss, quantile=0.2, domains=DOMAINS) == pytest.approx(optunas(params, loss, 0.2))


def test_what_matters_comes_first() -> None:
    params, loss = draws(400, 1)
    found = ped_anova(params, loss)
    assert list(found)[:2] == ["lr", "drop_prob"]
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert math.fsum(found.values()) == pytest.approx(1.0)
    assert found["input_dropout"] < 0.02


def test_a_scale_is_taken_into_account() -> None:
    rng = np.random.default_rng(2)
    params = pd.DataFrame({"tau": np.exp(rng.uniform(math.log(2), math.log(80), 300)), "gamma": rng.random(300)})
    loss = np.abs(np.log(params["tau"]) - math.log(3.0)).to_numpy() + 0.3 * rng.random(300)
    as_drawn = ped_anova(params, loss)
    linear = ped_anova(params, loss, scales={})
    assert as_drawn["tau"] > 0.95
    assert as_drawn["gamma"] != pytest.approx(linear["gamma"], rel=0.2)


def test_nothing_varies_nothing_matters() -> None:
    params = pd.DataFrame({"lr": [1.0] * 8, "target_gradient": ["flow"] * 8})
    assert ped_anova(params, np.arange(8.0)) == {"lr": 0.0, "target_gradient": 0.0}


@pytest.mark.parametrize(
    ("params", "loss", "quantile", "message"),
    [
        ({"lr": [1.0]}, [1.0, 2.0], 0.25, "a loss for each trial, got 2 for 1 trials"),
        ({"lr": []}, [], 0.25, "a loss for each trial, got 0 for 0 trials"),
        ({"lr": [1.0, 2.0]}, [1.0, math.inf], 0.25, "losses must be finite"),
        ({"lr": [1.0, 2.0]}, [1.0, 2.0], 1.0, r"quantile must lie inside \(0, 1\), got 1.0"),
        ({"lr": [1.0, None], "tau": [2.0, 3.0]}, [1.0, 2.0], 0.5, "every parameter, missing in lr"),
    ],
)
def test_bad_input_is_refused(params: dict, loss: list[float], quantile: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ped_anova(pd.DataFrame(params), np.array(loss), quantile=quantile)


def test_ranks_and_how_far_they_move() -> None:
    params, loss = draws(200, 3)
    frame = importance_ranks(params, loss, num_bootstrap=60)
    assert frame["parameter"].tolist() == list(ped_anova(params, loss))
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5]
    assert frame["importance"].tolist() == list(ped_anova(params, loss).values())
    assert (frame["rank_low"] <= frame["rank_high"]).all()
    first = frame.iloc[0]
    assert (first["parameter"], first["rank_low"], first["rank_high"]) == ("lr", 1.0, 1.0)
    assert set(frame["num_trials"]) == {200}
    assert frame["reason"].isna().all()
    pd.testing.assert_frame_equal(frame, importance_ranks(params, loss, num_bootstrap=60))


def test_ranks_of_pure_noise_move_over_everything() -> None:
    params, _ = draws(40, 5)
    loss = np.random.default_rng(0).normal(size=40)
    frame = importance_ranks(params, loss, num_bootstrap=60)
    assert (frame["rank_high"] - frame["rank_low"]).mean() > 2.0
    assert not frame.equals(importance_ranks(params, loss, num_bootstrap=60, seed=1))


def test_too_few_of_the_best_carry_no_interval() -> None:
    params, loss = draws(16, 6)
    frame = importance_ranks(params, loss)
    assert frame["rank_low"].isna().all()
    assert frame["rank_high"].isna().all()
    assert set(frame["reason"]) == {f"4 of 16 trials are too few to count as the best, it takes {MIN_TOP}"}
    assert importance_ranks(*draws(17, 6), num_bootstrap=5)["rank_low"].notna().all()
