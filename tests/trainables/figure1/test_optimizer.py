from __future__ import annotations

import torch
from torch import Tensor

from trainables.figure1.optimizer import GRAM_DECAY, MOMENTUM, ROOT_EVERY, SubspaceOptimizer


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_shampoo_is_the_mean_gradient_times_the_root_of_the_mean_gram() -> None:
    """Three steps against the definition, with numpy-like means and a matrix power from another decomposition."""
    weight = random(7, 3)
    expected, optimizer = weight.clone(), SubspaceOptimizer("shampoo", {"weight": weight}, preconditioned=["weight"])
    gradients = [random(7, 3, seed=s) for s in (1, 2, 3)]
    for t in range(1, 4):
        optimizer.step({"weight": gradients[t - 1]}, {"weight": 0.1})
        ages = torch.arange(t - 1, -1, -1, dtype=torch.float64)
        mean, gram = (
            sum(d**a * x for a, x in zip(ages, xs, strict=True)) / sum(d**a for a in ages)
            for d, xs in ((MOMENTUM, gradients[:t]), (GRAM_DECAY, [g.t() @ g for g in gradients[:t]]))
        )
        _, values, rows = torch.linalg.svd(gram)
        expected = expected - 0.1 * 7**0.5 * mean @ rows.t() @ torch.diag(values**-0.5) @ rows
    torch.testing.assert_close(weight, expected)


def test_a_shampoo_step_stays_in_the_gradients_column_space_and_moves_all_directions_alike() -> None:
    basis, weight = torch.linalg.qr(random(50, 6)).Q, random(50, 6, seed=1)
    before = weight.clone()
    scales = torch.logspace(0, -3, 6, dtype=torch.float64)  # directions of the hidden space, a thousandfold apart
    optimizer = SubspaceOptimizer("shampoo", {"weight": weight}, preconditioned=["weight"])
    optimizer.step({"weight": basis * scales}, {"weight": 1.0})
    step = before - weight
    assert (step - basis @ (basis.t() @ step)).abs().max() < 1e-12
    torch.testing.assert_close(torch.linalg.svdvals(step), torch.full((6,), 50**0.5, dtype=torch.float64))


def test_the_root_is_kept_between_the_updates_that_take_it() -> None:
    weight = random(7, 3)
    optimizer = SubspaceOptimizer("shampoo", {"weight": weight}, preconditioned=["weight"])
    roots = []
    for t in range(1, 2 * ROOT_EVERY + 1):
        optimizer.step({"weight": random(7, 3, seed=t)}, {"weight": 0.1})
        roots.append(optimizer.state["root"]["weight"].clone())
    same = [torch.equal(a, b) for a, b in zip(roots[:-1], roots[1:], strict=True)]
    assert same == [False] * (ROOT_EVERY - 1) + [True] * (ROOT_EVERY - 1) + [False]


def test_each_parameter_moves_at_its_own_learning_rate() -> None:
    for name in ("sgd", "adam", "shampoo"):
        weights = {"embedding": random(7, 3), "decoder": random(7, 3)}
        before = weights["embedding"].clone()
        optimizer = SubspaceOptimizer(name, weights, preconditioned=weights)
        optimizer.step({n: random(7, 3, seed=2) for n in weights}, {"embedding": 0.025, "decoder": 0.1})
        moved = {n: w - before for n, w in weights.items()}
        torch.testing.assert_close(moved["embedding"], 0.25 * moved["decoder"])
