import itertools

import pytest

from study.records.records import Cell
from study.spec.spaces import paper_params, search_space, space_hash, to_config
from trainables.config import paper_config
from trainables.recipes import CORPORA, SIZES, TARGET_GRADIENTS, VARIANTS

CELLS = [Cell(c, s, v) for c, s, v in itertools.product(CORPORA, SIZES, VARIANTS)]
AUGMENTED = {"gamma", "tau", "target_gradient"}


def contains(distribution, value):
    return distribution._contains(distribution.to_internal_repr(value))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_papers_recipe_is_a_point_of_every_space(cell):
    params = paper_params(cell)
    config = to_config(cell, params, seed=3, max_epochs=7)
    assert config == paper_config(cell.variant, cell.size, cell.corpus, seed=3, max_epochs=7)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_both_readings_of_the_papers_dropout_numbers_are_in_the_space(cell):
    keep = CORPORA[cell.corpus].keep_prob[cell.size]
    drop = search_space(cell)["drop_prob"]
    assert contains(drop, keep)
    assert contains(drop, 1 - keep)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_only_augmented_variants_search_the_augmented_loss(cell):
    found = AUGMENTED & set(search_space(cell))
    assert found == (AUGMENTED if VARIANTS[cell.variant].augmented_loss else set())


def test_the_target_gradient_is_searched_both_ways():
    assert search_space(Cell("ptb", "small", "al"))["target_gradient"].choices == TARGET_GRADIENTS


def test_a_point_with_a_foreign_or_a_missing_parameter_is_refused():
    cell = Cell("ptb", "small", "baseline")
    params = paper_params(cell)
    with pytest.raises(ValueError, match="tau"):
        to_config(cell, params | {"tau": 20.0}, seed=0, max_epochs=1)
    params.pop("lr")
    with pytest.raises(ValueError, match="lr"):
        to_config(cell, params, seed=0, max_epochs=1)


def test_a_recipe_outside_the_space_is_refused(monkeypatch):
    from optuna.distributions import FloatDistribution

    from study.spec import spaces

    monkeypatch.setitem(spaces._SPECIAL, ("ptb", "lr"), FloatDistribution(2.0, 3.0))
    with pytest.raises(ValueError, match="lr = 1.0 is outside"):
        paper_params(Cell("ptb", "small", "real"))


def test_the_hash_follows_the_space(monkeypatch):
    from optuna.distributions import FloatDistribution

    from study.spec import spaces

    cell = Cell("ptb", "small", "real")
    before = space_hash(cell)
    assert before != space_hash(cell._replace(variant="re"))
    monkeypatch.setitem(spaces._SHARED, "lr", FloatDistribution(0.3, 4.0, log=True))
    assert space_hash(cell) != before
