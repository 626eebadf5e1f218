import dataclasses

import pytest

from study.records.records import Setting
from study.records.trials import SELECT_SEEDS
from study.spec.spec import AUDIT_SHARE, StudySpec
from trainables.recipes import CORPORA, SIZES, VARIANTS

SETTING = Setting("ptb", "small", "real")


def spec(**changes):
    return StudySpec(**({"setting": SETTING, "num_samples": 40, "max_epochs": 50} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": -1}, "num_samples must be a whole number of at least 0, got -1"),
        ({"max_epochs": 0}, "max_epochs must be a whole number of at least 1, got 0"),
        ({"num_seeds": -1}, "num_seeds must be a whole number of at least 0, got -1"),
        ({"search_seed": -1}, "search_seed must be a whole number of at least 0, got -1"),
        ({"num_sessions": 0}, "num_sessions must be 1 or 2, got 0"),
        ({"num_sessions": 3}, "num_sessions must be 1 or 2, got 3"),
        ({"num_sessions": 2, "max_epochs": 5}, "max_epochs must be even for two sessions of equal length, got 5"),
        ({"setting": Setting("ptb", "huge", "real")}, "size must be one of tiny, small, medium, large, got 'huge'"),
        ({"setting": Setting("c4", "small", "real")}, "corpus must be one of .*, got 'c4'"),
        ({"setting": Setting("ptb", "small", "lm")}, "variant must be one of .*, got 'lm'"),
    ],
)
def test_a_refused_value_names_the_rule_and_what_was_given(changes, message):
    with pytest.raises(ValueError, match=message):
        spec(**changes)


def test_the_name_follows_what_makes_the_study_and_not_what_may_grow():
    name = spec().name
    assert name.startswith("real-small-ptb-")
    assert spec(num_samples=80, num_seeds=12).name == name
    others = {"max_epochs": 51}, {"search_seed": 1}, {"setting": SETTING._replace(variant="re")}
    assert len({name, *(spec(**changes).name for changes in others)}) == 4


@pytest.mark.parametrize("num_samples", range(1, 60))
def test_the_blocks_add_up_and_only_grow(num_samples):
    now, more = spec(num_samples=num_samples).num_trials, spec(num_samples=num_samples + 1).num_trials
    assert now["default"] + now["random"] + now["tpe"] == num_samples
    assert all(more[block] >= now[block] for block in now)


def test_budgets_are_equal_across_the_variants_of_every_size_and_corpus():
    for size in SIZES:
        for corpus in CORPORA:
            specs = [
                StudySpec(setting=Setting(corpus, size, v), num_samples=20, max_epochs=SIZES[size].max_epochs)
                for v in VARIANTS
            ]
            assert len({(*s.num_trials.items(), *s.expected_epochs.items()) for s in specs}) == 1


@pytest.mark.parametrize("search_seed", range(20))
def test_the_audit_arm_is_its_share_of_the_tpe_trials(search_seed):
    one = spec(search_seed=search_seed)
    for n in (10, 40, 200):
        assert abs(sum(one.is_audit(i) for i in range(n)) - AUDIT_SHARE * n) < 1


def test_expected_epochs_by_hand():
    # 9 trials: paper, 4 random, 4 tpe; a rung at 6 of 12; a tpe trial expects 6 + 6/2 = 9 epochs. Then 5 configurations
    # on 2 seeds, and 2 on 2.
    one = spec(num_samples=9, max_epochs=12, num_seeds=2)
    assert one.rungs == [6]
    num_audit = sum(one.is_audit(i) for i in range(4))
    assert one.expected_epochs == {
        "default": 12, "random": 48, "tpe": pytest.approx(num_audit * 12 + (4 - num_audit) * 9.0), "select": 120,
        "confirm": 48,
    }  # fmt: skip


@pytest.mark.parametrize(("max_epochs", "rungs"), [(1, []), (2, [1]), (5, [3]), (12, [6]), (45, [23])])
def test_asha_has_one_rung_half_way(max_epochs, rungs):
    assert spec(max_epochs=max_epochs).rungs == rungs


def test_seeds_of_the_blocks_are_disjoint():
    one = spec(num_seeds=50)
    search = [one.trial_seed(f"random-{i:04d}") for i in range(500)]
    assert len(set(search)) == 500
    assert not set(search) & {*one.confirm_seeds, *SELECT_SEEDS}
    assert not set(SELECT_SEEDS) & set(one.confirm_seeds)
    assert one.confirm_seeds == spec(num_seeds=50, setting=SETTING._replace(variant="baseline")).confirm_seeds


def test_precisions_are_different_studies():
    names = {spec(precision=precision).name for precision in ("fp32", "tf32", "bf16")}
    assert len(names) == 3
    with pytest.raises(ValueError, match="precision must be one of fp32, tf32, bf16, got 'fp16'"):
        spec(precision="fp16")


def test_a_point_goes_to_a_config_and_back():
    one = spec()
    params = one.params(one.paper) | {"lr": 0.5, "tau": 3.0}
    config = one.config(params, seed=9)
    assert (config.lr, config.tau, config.seed, config.max_epochs) == (0.5, 3.0, 9, 50)
    assert one.params(config) == params


def test_the_names_of_studies_stay_as_they_are():
    """Another name orphans the records of the studies that have been run."""
    names = [spec(setting=SETTING._replace(variant=v), num_samples=3, max_epochs=2).name for v in VARIANTS]
    assert names == [
        "baseline-small-ptb-a85fc35c", "al-small-ptb-8f575ccf", "re-small-ptb-632a3dea", "real-small-ptb-060dbc9e",
    ]  # fmt: skip
    assert spec(num_sessions=1).name == spec().name


def test_a_second_session_makes_another_study_whose_trials_all_restart_half_way():
    one, two = spec(num_samples=3, max_epochs=50), spec(num_samples=3, max_epochs=100, num_sessions=2)
    assert len({one.name, two.name, spec(num_samples=3, max_epochs=100).name}) == 3
    assert (two.paper.max_epochs, two.paper.second_session_epoch) == (100, 51)
    assert one.paper.second_session_epoch is None
    tuned = two.config(two.params(two.paper) | {"lr": 0.5}, seed=7)
    assert (tuned.lr, tuned.seed, tuned.max_epochs, tuned.second_session_epoch) == (0.5, 7, 100, 51)
    assert two.params(tuned) == two.params(two.paper) | {"lr": 0.5}
    # The first session is the one-session study's, and the second has its learning rates over again.
    first = [one.paper.lr_at(epoch) for epoch in range(1, 51)]
    assert [two.paper.lr_at(epoch) for epoch in range(1, 101)] == first + first
    assert two.confirm_seeds == one.confirm_seeds


def test_without_a_search_only_the_paper_is_confirmed():
    assert spec(num_samples=1, num_seeds=6).num_trials == {
        "default": 1, "random": 0, "tpe": 0, "select": 0, "confirm": 6,
    }  # fmt: skip
    assert spec(num_samples=2, num_seeds=6).num_trials | {"random": 0, "tpe": 1} == {
        "default": 1, "random": 0, "tpe": 1, "select": 4, "confirm": 12,
    }  # fmt: skip
    assert spec(num_samples=40).num_trials["select"] == 10


RECIPE_ONLY = {
    "baseline": "baseline-small-ptb-recipe-6d76344d",
    "al": "al-small-ptb-recipe-e86e3772",
    "re": "re-small-ptb-recipe-0ecbb782",
    "real": "real-small-ptb-recipe-2a2095b8",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_name_of_a_recipe_only_study_is_fixed(variant):
    """Another name orphans hours of training."""
    setting = Setting("ptb", "small", variant)
    one = StudySpec(setting=setting, num_samples=0, max_epochs=40)
    assert one.name == RECIPE_ONLY[variant]
    assert dataclasses.replace(one, precision="bf16").name == f"{RECIPE_ONLY[variant]}-bf16"


def test_the_name_of_a_recipe_only_study_depends_on_no_search(monkeypatch):
    one = StudySpec(setting=SETTING, num_samples=0, max_epochs=40)
    name = one.name
    others = [{"max_epochs": 41}, {"num_sessions": 2}, {"setting": SETTING._replace(size="medium")}, {"num_samples": 1}]
    assert len({name, *(dataclasses.replace(one, **changes).name for changes in others)}) == 5
    monkeypatch.setattr("study.spec.spec.space_hash", lambda setting: "another")
    monkeypatch.setattr("study.spec.spec.REDUCTION_FACTOR", 3)
    assert one.is_recipe_only
    assert dataclasses.replace(one, num_seeds=3, search_seed=5).name == name
    monkeypatch.setattr("study.spec.spec._FIRST_CONFIRM_SEED", 201)
    assert one.name != name


def test_a_recipe_only_study_is_the_recipe_on_fresh_seeds_and_nothing_else():
    one = StudySpec(setting=SETTING, num_samples=0, max_epochs=40, num_seeds=3)
    assert one.num_trials == {"default": 0, "random": 0, "tpe": 0, "select": 0, "confirm": 3}
    assert one.expected_epochs == {"default": 0, "random": 0, "tpe": 0, "select": 0, "confirm": 120}
    assert one.confirm_seeds == [101, 102, 103]
