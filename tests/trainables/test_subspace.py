"""Laws of appendix B's distance."""

from __future__ import annotations

import math

import pytest
import torch

from trainables.subspace import subspace_distance


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
