import dataclasses
import itertools

import numpy as np
import pytest

from study.records.parameters import PARAMETERS
from study.records.records import Setting
from study.spec.spaces import paper_params, search_space, space_hash, to_config
from trainables.config import paper_config
from trainables.recipes import CORPORA, SIZES, TARGET_GRADIENTS, VARIANTS

SETTINGS = [Setting(c, s, v) for c, s, v in itertools.product(CORPORA, SIZES, VARIANTS)]
AUGMENTED = {"gamma", "tau", "target_gradient"}


def contains(distribution, value):
    return distribution._contains(distribution.to_internal_repr(value))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_papers_recipe_is_a_point_of_every_space(setting):
    params = paper_params(setting)
    config = to_config(setting, params, seed=3, max_epochs=7)
    assert config == paper_config(setting.variant, setting.size, setting.corpus, seed=3, max_epochs=7)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_both_readings_of_the_papers_dropout_numbers_are_in_the_space(setting):
    keep = CORPORA[setting.corpus].keep_prob[setting.size]
    drop = search_space(setting)["drop_prob"]
    assert contains(drop, keep)
    assert contains(drop, 1 - keep)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_only_augmented_variants_search_the_augmented_loss(setting):
    found = AUGMENTED & set(search_space(setting))
    assert found == (AUGMENTED if VARIANTS[setting.variant].augmented_loss else set())


def test_the_target_gradient_is_searched_both_ways():
    assert search_space(Setting("ptb", "small", "al"))["target_gradient"].choices == TARGET_GRADIENTS


def test_a_point_with_a_foreign_or_a_missing_parameter_is_refused():
    setting = Setting("ptb", "small", "baseline")
    params = paper_params(setting)
    with pytest.raises(ValueError, match="tau"):
        to_config(setting, params | {"tau": 20.0}, seed=0, max_epochs=1)
    params.pop("lr")
    with pytest.raises(ValueError, match="lr"):
        to_config(setting, params, seed=0, max_epochs=1)


def test_a_recipe_outside_the_space_is_refused(monkeypatch):
    monkeypatch.setitem(PARAMETERS, "lr", dataclasses.replace(PARAMETERS["lr"], special={"ptb": (2.0, 3.0)}))
    with pytest.raises(ValueError, match="lr = 1.0 is outside"):
        paper_params(Setting("ptb", "small", "real"))
    paper_params(Setting("toy", "small", "real"))


def test_the_hash_follows_the_space(monkeypatch):
    setting = Setting("ptb", "small", "real")
    before = space_hash(setting)
    monkeypatch.setitem(PARAMETERS, "lr", dataclasses.replace(PARAMETERS["lr"], domain=(0.3, 4.0)))
    assert space_hash(setting) != before


@pytest.mark.parametrize(
    ("size", "variant", "digest"),
    [
        ("tiny", "baseline", "b9a8a307d0c6"), ("tiny", "real", "6ffd8b354101"),
        ("small", "re", "c121727b9504"), ("large", "al", "c7c7a2ef76b7"),
    ],
)  # fmt: skip
def test_the_spaces_are_those_on_record(size, variant, digest):
    """A study's name depends on its space: another hash orphans the records of every study with a search."""
    assert space_hash(Setting("ptb", size, variant)) == digest


@pytest.mark.parametrize("size", SIZES)
def test_most_draws_let_the_learning_rate_fall_to_between_a_thousandth_and_a_tenth(size):
    space, rng = search_space(Setting("ptb", size, "baseline")), np.random.default_rng(0)
    decay, start = space["lr_decay"], space["lr_decay_start_epoch"]
    factor = rng.uniform(decay.low, decay.high, 10_000)
    first = rng.integers(start.low, start.high, 10_000, endpoint=True)
    end = factor ** (SIZES[size].max_epochs - first)
    assert ((end >= 1e-3) & (end <= 1e-1)).mean() > (0.6 if size == "tiny" else 0.85)
