"""Laws of appendix B's distance."""

from __future__ import annotations

import math

import pytest
import torch

from trainables.models.distance import ExplainedShare, subspace_distance


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def randn(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_symmetric_and_zero_for_the_same_column_space(generator):
    x, y = randn(40, 6, generator=generator), randn(40, 6, generator=generator)
    assert subspace_distance(x, y) == pytest.approx(subspace_distance(y, x), abs=1e-14)
    assert subspace_distance(x, x @ randn(6, 6, generator=generator)) == pytest.approx(0, abs=1e-12)


def test_one_for_orthogonal_subspaces():
    identity = torch.eye(8, dtype=torch.float64)
    assert subspace_distance(identity[:, :3], identity[:, 3:6]) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("angle", [1e-7, 0.3, 1.2, math.pi / 2])
def test_sine_of_the_angle_between_two_lines(angle):
    x, y = torch.tensor([[1.0], [0.0]]), torch.tensor([[math.cos(angle)], [math.sin(angle)]], dtype=torch.float64)
    assert subspace_distance(x, y) == pytest.approx(math.sin(angle), rel=1e-8)


def test_mean_of_squared_sines_over_the_principal_angles():
    x = torch.eye(4, dtype=torch.float64)[:, :2]
    y = torch.tensor([[math.cos(0.4), 0], [0, math.cos(1.1)], [math.sin(0.4), 0], [0, math.sin(1.1)]])
    expected = math.sqrt((math.sin(0.4) ** 2 + math.sin(1.1) ** 2) / 2)
    assert subspace_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_random_subspaces_are_nearly_orthogonal(generator):
    x, y = randn(2000, 60, generator=generator), randn(2000, 60, generator=generator)
    assert subspace_distance(x, y) == pytest.approx(math.sqrt(1 - 60 / 2000), abs=1e-3)


def test_one_lost_direction_of_d_is_a_distance_of_one_over_the_root_of_d_and_none_once_centred(generator):
    """W = E B + 1 c^T is the best that the augmented loss can reach: J_aug does not depend on c."""
    e, b = randn(400, 9, generator=generator), randn(9, 9, generator=generator)
    w = e @ b + randn(1, 9, generator=generator)
    assert 0.5 * 9**-0.5 < subspace_distance(e, w) <= 9**-0.5
    assert subspace_distance(e, w, centred=True) == pytest.approx(0, abs=1e-12)


def test_the_centred_distance_is_that_of_the_matrices_without_their_columns_means(generator):
    x, y = randn(40, 6, generator=generator) + 3, randn(40, 6, generator=generator) - 2
    expected = subspace_distance(x - x.mean(0), y - y.mean(0))
    assert subspace_distance(x, y, centred=True) == pytest.approx(expected, abs=1e-14)
    assert abs(subspace_distance(x, y) - expected) > 0.01


def explained(hidden, vectors, *, parts=1):
    share = ExplainedShare()
    for h, u in zip(hidden.chunk(parts), vectors.chunk(parts), strict=True):
        share.add(h, u)
    return share.value()


def test_the_explained_share_is_r_squared_of_the_regression_with_an_intercept(generator):
    h, u = randn(200, 5, generator=generator) + 7, randn(200, 3, generator=generator)
    u += h @ randn(5, 3, generator=generator) - 4
    design = torch.cat([h, torch.ones(200, 1, dtype=h.dtype)], 1)
    residual = u - design @ torch.linalg.lstsq(design, u).solution
    expected = 1 - float(residual.square().sum() / (u - u.mean(0)).square().sum())
    assert 0.5 < expected < 1
    assert explained(h, u) == pytest.approx(expected, abs=1e-10)
    assert explained(h, u, parts=4) == pytest.approx(expected, abs=1e-10)
    assert explained(h.float(), u.float()) == pytest.approx(expected, abs=1e-5)


def test_the_explained_share_is_one_zero_or_nan_in_the_limits(generator):
    h = randn(200, 5, generator=generator)
    assert explained(h, h @ randn(5, 3, generator=generator) + 2) == pytest.approx(1, abs=1e-12)
    assert explained(torch.ones_like(h), randn(200, 3, generator=generator)) == pytest.approx(0, abs=1e-12)
    twice = torch.cat([h, h[:, :2]], 1)  # two units that say nothing new
    u = randn(200, 3, generator=generator)
    assert explained(twice, u) == pytest.approx(explained(h, u), abs=1e-10)
    assert math.isnan(explained(h, torch.ones(200, 3)))
    with pytest.raises(ValueError, match="at least one token"):
        ExplainedShare().value()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.ones(3, 2), torch.ones(4, 2)),
        (torch.ones(2, 3), torch.ones(2, 3)),
        (torch.ones(3), torch.ones(3)),
        (torch.full((3, 2), math.nan), torch.ones(3, 2)),
    ],
)
def test_bad_matrices_are_refused(x, y):
    with pytest.raises(ValueError, match="x and y must be"):
        subspace_distance(x, y)
