"""The study, configuration and seeds behind a setting's estimates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from analysis.measures.settings import (
    NOT_CONFIRMED,
    Estimate,
    confirmed_trials,
    ppl_by_seed,
    recipe_estimate,
    seed_trials,
    tuned_estimate,
    tuned_origin,
)
from analysis.records.load import load_results
from analysis.records.sources import trial_keys
from analysis.records.studies import SettingStudy, settings_with_records, study_of
from study.records.records import Setting
from tests.support.frames import confirmed, only_study
from tests.support.memory import Row, trial
from tests.support.synthetic import write_run, write_trial
from trainables.recipes import SIZES

SETTING = Setting("toy", "tiny", "re")
FULL = SIZES[SETTING.size].max_epochs


class Lab:
    """A storage with one study of ``SETTING``, written trial by trial."""

    def __init__(self, path: Path, *, num_seeds: int = 3) -> None:
        self.storage = str(path)
        write_run(self.storage, SETTING, "s", num_seeds=num_seeds)

    def search(self, trial_id: str, best: float, status: str = "complete", **columns: object) -> None:
        # The last epochs are ordered the other way round: only the best ones may count.
        write_trial(self.storage, SETTING, "s", trial_id, [best, 300 - best], status=status, **columns)  # type: ignore[arg-type]

    def confirm(self, origin: str, seed: int, valid: float, test: float | None, status: str = "complete") -> None:
        write_trial(
            self.storage, SETTING, "s", f"confirm-{origin}-s{seed}", [valid + 5, valid + 2], status=status,
            origin=origin, seed=seed, single_stream_valid_ppl=valid, test_ppl=test,
        )  # fmt: skip

    @property
    def study(self) -> SettingStudy:
        study = study_of(load_results([self.storage]), SETTING)
        assert study is not None
        return study

    def recipe(self) -> Estimate:
        estimate = recipe_estimate(self.study)
        assert estimate is not None
        return estimate

    def tuned(self) -> Estimate:
        estimate = tuned_estimate(self.study)
        assert estimate is not None
        return estimate


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_the_recipe_is_the_mean_over_its_seeds(lab: Lab) -> None:
    lab.search("default-0000", 99.0)
    for seed, valid, test in ((101, 80.0, 76.0), (102, 82.0, 77.0), (103, 81.0, 78.0)):
        lab.confirm("paper", seed, valid, test)
    found = lab.recipe()
    assert found.confirmed
    assert found.missing == ()
    assert found.trial_ids == ("confirm-paper-s101", "confirm-paper-s102", "confirm-paper-s103") == found.test_trial_ids
    for mean, values in ((found.valid, [80.0, 82.0, 81.0]), (found.test, [76.0, 77.0, 78.0])):
        loss = np.log(values)
        low, high = scipy.stats.t.interval(0.95, 2, loc=loss.mean(), scale=scipy.stats.sem(loss))
        assert mean is not None
        assert (mean.mean, mean.low, mean.high) == pytest.approx(tuple(np.exp([loss.mean(), low, high])), rel=1e-9)


def test_without_a_single_stream_value_the_best_epoch_stands_in(lab: Lab) -> None:
    write_trial(lab.storage, SETTING, "s", "confirm-paper-s101", [90.0, 84.0, 86.0], origin="paper")
    valid = lab.recipe().valid
    assert valid is not None
    assert valid.mean == pytest.approx(84.0)


def test_one_seed_says_what_is_missing(lab: Lab) -> None:
    lab.confirm("paper", 101, 80.0, 76.0)
    lab.confirm("paper", 102, 82.0, None, status="interrupted")
    found = lab.recipe()
    assert found.trial_ids == ("confirm-paper-s101",)
    assert found.missing == ("1 of 3 seeds (1 unfinished)", "no interval from one seed")
    assert found.valid is not None
    assert found.valid.low is None


def test_a_failed_seed_and_an_unread_test_are_said(lab: Lab) -> None:
    lab.confirm("paper", 101, 80.0, 76.0)
    lab.confirm("paper", 102, 82.0, None)
    lab.confirm("paper", 103, 82.0, None, status="failed")
    found = lab.recipe()
    assert found.missing == ("2 of 3 seeds (1 failed)", "test read for 1 of 2 seeds")
    assert found.test_trial_ids == ("confirm-paper-s101",)


def test_without_confirmation_the_default_trial_is_shown_as_such(lab: Lab) -> None:
    lab.search("default-0000", 90.0)
    lab.search("tpe-0001", 80.0)
    found = lab.recipe()
    assert (found.origin, found.confirmed, found.missing) == ("default-0000", False, (NOT_CONFIRMED,))
    assert found.test is None


def test_short_trials_are_said(lab: Lab) -> None:
    lab.search("default-0000", 90.0, max_epochs=3)
    assert lab.recipe().missing == (NOT_CONFIRMED, f"trials of 3 epochs, the full length is {FULL}")


def test_the_tuned_origin_has_the_lowest_validation_of_those_confirmed(lab: Lab) -> None:
    for trial_id, best in (("default-0000", 90.0), ("random-0001", 85.0), ("tpe-0002", 83.0), ("tpe-0003", 84.0)):
        lab.search(trial_id, best)
    # The test perplexities point the other way: they must not be looked at.
    for origin, valid, test in (("random-0001", 81.0, 10.0), ("tpe-0002", 88.0, 99.0), ("tpe-0003", 70.0, 20.0)):
        for seed in (101, 102, 103):
            lab.confirm(origin, seed, valid, test)
    found = lab.tuned()
    assert (found.origin, found.missing) == ("tpe-0002", ())
    assert found.trial_ids == tuple(f"confirm-tpe-0002-s{seed}" for seed in (101, 102, 103))


def test_a_better_trial_that_is_not_confirmed_yet_is_said(lab: Lab) -> None:
    lab.search("default-0000", 90.0)
    lab.search("tpe-0002", 83.0)
    lab.search("tpe-0004", 80.0)
    for seed in (101, 102, 103):
        lab.confirm("tpe-0002", seed, 83.0, 80.0)
        lab.confirm("paper", seed, 90.0, 85.0)
    found = lab.tuned()
    assert found.origin == "tpe-0002"
    assert found.missing == ("the best of the search, tpe-0004, is not confirmed",)


def test_the_recipe_may_win_the_search(lab: Lab) -> None:
    lab.search("default-0000", 80.0)
    lab.search("tpe-0002", 83.0)
    for seed in (101, 102, 103):
        lab.confirm("paper", seed, 82.0, 79.0)
    found = lab.tuned()
    assert (found.origin, found.missing) == ("paper", ("the paper's recipe won",))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("pruned", "tpe-0002 was pruned after 2 epochs"),
        ("interrupted", f"tpe-0002 stands at 2 of {FULL} epochs"),
    ],
)
def test_nothing_complete_yet(lab: Lab, status: str, said: str) -> None:
    lab.search("tpe-0002", 83.0, status=status)
    assert lab.tuned().missing == (NOT_CONFIRMED, said)
    assert recipe_estimate(lab.study) is None


def test_all_failed(lab: Lab) -> None:
    for i in range(3):
        write_trial(lab.storage, SETTING, "s", f"random-{i:04d}", [math.nan], status="failed")
    assert tuned_estimate(lab.study) is None
    assert recipe_estimate(lab.study) is None


def test_only_a_run(lab: Lab) -> None:
    assert settings_with_records(load_results([lab.storage])) == [SETTING]
    assert lab.study.trials.empty
    assert tuned_estimate(lab.study) is None


def test_of_two_studies_the_one_with_more_stands_never_the_better_one(lab: Lab) -> None:
    lab.search("default-0000", 90.0)
    write_run(lab.storage, SETTING, "short", max_epochs=2)
    for i in range(5):
        write_trial(lab.storage, SETTING, "short", f"random-{i:04d}", [20.0, 10.0], max_epochs=2)
    study = lab.study
    assert (study.study, study.others) == ("s", ("short",))


def test_settings_come_in_the_registries_order(tmp_path: Path) -> None:
    settings = [
        Setting("toy", "tiny", "re"), Setting("ptb", "large", "al"), Setting("ptb", "small", "real"),
        Setting("ptb", "small", "re"),
    ]  # fmt: skip
    for setting in settings:
        write_run(str(tmp_path), setting, "-".join(setting))
    assert settings_with_records(load_results([str(tmp_path)])) == [settings[3], settings[2], settings[1], settings[0]]


def test_perplexities_by_seed() -> None:
    rows = [trial(SETTING, "tpe-0001", 80.0), *confirmed(SETTING, "paper", [88.0, 89.0, 90.0, 91.0])]
    rows += confirmed(SETTING, "tpe-0001", [80.0])
    rows[1]["test_ppl"] = None
    rows[2] |= {"single_stream_valid_ppl": None, "best_valid_ppl": 77.0, "test_ppl": 70.0}
    rows[3] |= {"status": "interrupted"}
    rows[4] |= {"single_stream_valid_ppl": math.inf}
    study = only_study(rows, SETTING)
    assert ppl_by_seed(study, "paper", "valid") == {101: 88.0, 102: 77.0}
    assert ppl_by_seed(study, "paper", "test") == {102: 70.0, 104: 91.0}
    assert ppl_by_seed(study, "tpe-0001", "valid") == {101: 80.0}
    assert ppl_by_seed(study, "tpe-0009", "test") == {}
    assert list(confirmed_trials(study, "paper")["seed"]) == [101, 102, 104]
    assert seed_trials(study, "paper", (102, 103, 104)) == trial_keys(
        study.study, ["confirm-paper-s102", "confirm-paper-s104"]
    )
    with pytest.raises(ValueError, match="split must be valid or test, got 'train'"):
        ppl_by_seed(study, "paper", "train")


def test_a_caller_may_change_its_copy() -> None:
    study = only_study(confirmed(SETTING, "paper", [88.0]), SETTING)
    ppl_by_seed(study, "paper", "valid").clear()
    assert ppl_by_seed(study, "paper", "valid") == {101: 88.0}


def test_the_tuned_origin() -> None:
    search = [
        trial(SETTING, "default-0000", 90.0),
        trial(SETTING, "random-0001", 85.0),
        trial(SETTING, "tpe-0002", 83.0),
    ]
    recipe, first, second = (confirmed(SETTING, origin, [88.0]) for origin in ("paper", "random-0001", "tpe-0002"))
    assert tuned_origin(only_study(search, SETTING)) is None
    assert tuned_origin(only_study(search + recipe, SETTING)) is None  # the recipe did not win
    assert tuned_origin(only_study(search + recipe + first, SETTING)) == "random-0001"
    assert tuned_origin(only_study(search + recipe + first + second, SETTING)) == "tpe-0002"
    assert tuned_origin(only_study(search[:1] + recipe, SETTING)) == "paper"
    under_way = [row | {"status": "interrupted"} for row in second]
    assert tuned_origin(only_study(search + first + under_way, SETTING)) == "random-0001"
    unread = [row | {"single_stream_valid_ppl": None, "best_valid_ppl": None} for row in second]
    assert tuned_origin(only_study(search + first + unread, SETTING)) == "random-0001"


def selected(origin: str, seed: int, ppl: float, **columns: object) -> Row:
    return trial(SETTING, f"select-{origin}-s{seed}", ppl, origin=origin, seed=seed, **columns)


def test_the_winner_of_the_select_block_is_the_tuned_configuration() -> None:
    search = [
        trial(SETTING, "default-0000", 90.0),
        trial(SETTING, "random-0001", 70.0),
        trial(SETTING, "tpe-0002", 85.0),
    ]
    block = [
        selected(origin, seed, ppl)
        for origin, ppl in (("paper", 92.0), ("random-0001", 95.0), ("tpe-0002", 86.0))
        for seed in (51, 52)
    ]
    done = [confirmed(SETTING, origin, [88.0]) for origin in ("paper", "tpe-0002")]
    assert tuned_origin(only_study([*search, *block, *done[0], *done[1]], SETTING)) == "tpe-0002"
    assert tuned_origin(only_study([*search, *block, *done[0]], SETTING)) is None  # not confirmed yet
    failed = [selected("tpe-0002", 52, 86.0, status="failed"), *block[:5]]
    assert tuned_origin(only_study([*search, *failed, *done[0], *done[1]], SETTING)) == "paper"
    open_ = [selected("tpe-0002", 52, 86.0, status="interrupted"), *block[:5]]
    assert tuned_origin(only_study([*search, *open_, *done[0], *done[1]], SETTING)) is None
