"""The fused head against the readable losses on autograd; chunks, trials, extremes, precision."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trainables.data.batching import distinct_words
from trainables.fused import scores
from trainables.fused.head import DecoderWeights, Head, Targets
from trainables.fused.matmul import HAS_ONEDNN_LINEAR, add_outer, add_rows, gather_rows, product
from trainables.fused.scores import AugmentedTerm
from trainables.models.losses import augmented_loss, cross_entropy, target_logits, total_loss

STEPS, STREAMS, UNITS, VOCAB = 4, 3, 6, 13


@dataclasses.dataclass
class Problem:
    """K trials' hidden states, targets and matrices."""

    hidden: torch.Tensor
    targets: torch.Tensor
    weights: DecoderWeights
    tau: torch.Tensor
    gamma: torch.Tensor
    flow: torch.Tensor

    def one(self, k):
        one = slice(k, k + 1)
        w = self.weights
        decoder = w.decoder[one]
        weights = DecoderWeights(
            decoder=decoder,
            bias=None if w.bias is None else w.bias[one],
            embedding=decoder if w.embedding is w.decoder else w.embedding[one],
        )
        rest = (x[one] for x in (self.hidden, self.targets))
        return Problem(*rest, weights, self.tau[one], self.gamma[one], self.flow[one])


def make_problem(trials, *, tied, augmented=True, dtype=torch.float64, scale=1.0, unit_major=True):
    g = torch.Generator().manual_seed(1)

    def randn(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).mul(scale).to(dtype)

    def matrix():
        return randn(trials, UNITS, VOCAB).transpose(1, 2) if unit_major else randn(trials, VOCAB, UNITS)

    decoder = matrix()
    weights = DecoderWeights(
        decoder=decoder, bias=None if tied else randn(trials, VOCAB), embedding=decoder if tied else matrix()
    )
    return Problem(
        hidden=randn(trials, STEPS, STREAMS, UNITS),
        targets=torch.randint(VOCAB // 2, (trials, STEPS, STREAMS), generator=g),
        weights=weights,
        tau=torch.tensor([3.0, 20.0, 0.8], dtype=dtype)[:trials].view(-1, 1, 1),
        gamma=torch.tensor([0.7, 1.3, 0.4], dtype=dtype)[:trials].view(-1, 1, 1),
        flow=torch.tensor([1.0, 0.0, 1.0], dtype=dtype)[:trials].view(-1, 1, 1),
    )


def run(problem, *, augmented=True, gathered=None):
    """Losses, d_hidden and the gradients of decoder, bias and embedding."""
    k = len(problem.hidden)
    w = problem.weights
    found = [distinct_words(t) for t in problem.targets]
    most = max(len(d) for d, _ in found)
    padded = torch.stack([torch.cat([d, d[:1].expand(most - len(d))]) for d, _ in found])
    targets = Targets(problem.targets.flatten(1), padded, torch.stack([i for _, i in found]))
    decoder = torch.full_like(w.decoder, float("nan"))
    gradients = DecoderWeights(
        decoder=decoder,
        bias=None if w.bias is None else torch.full_like(w.bias, float("nan")),
        embedding=decoder if w.embedding is w.decoder else torch.full_like(w.embedding, float("nan")),
    )
    flow = problem.flow if bool(problem.flow.any()) else None
    term = AugmentedTerm(tau=problem.tau, gamma=problem.gamma, flow=flow) if augmented else None
    head = Head(k, STEPS, STREAMS, augmented=term, like=w.decoder[0])
    made = scores.TargetDistributions
    with pytest.MonkeyPatch.context() as patch:
        if gathered is not None:  # as on the other kind of device
            patch.setattr(
                "trainables.fused.head.TargetDistributions", lambda *a, **k: made(*a, **k | {"gathered": gathered})
            )
        ce, aug = head(problem.hidden, targets, w, gradients)
    return ce, aug, head.d_hidden.view_as(problem.hidden), gradients.decoder, gradients.bias, gradients.embedding


def run_plain(problem, *, augmented=True):
    """The same for a single trial, by autograd on ``losses``."""
    w = problem.weights
    tied = w.embedding is w.decoder
    hidden, decoder = (x[0].detach().clone().requires_grad_() for x in (problem.hidden, w.decoder))
    embedding = decoder if tied else w.embedding[0].detach().clone().requires_grad_()
    bias = None if w.bias is None else w.bias[0].clone().requires_grad_()
    options = {}
    if augmented:
        flow = "flow" if bool(problem.flow) else "stop"
        options = {"gamma": float(problem.gamma), "tau": float(problem.tau), "target_gradient": flow}
    total, ce, _ = total_loss(hidden, problem.targets[0], embedding=embedding, decoder=decoder, bias=bias, **options)
    leaves = [x for x in (hidden, decoder, bias, None if tied else embedding) if x is not None]
    gradients = torch.autograd.grad(total.sum(), leaves, allow_unused=True)
    by_leaf = dict(zip(map(id, leaves), gradients, strict=True))
    d_embedding = by_leaf[id(embedding)]
    aug = torch.zeros(())
    if augmented:
        aug = augmented_loss(hidden @ decoder.T, target_logits(embedding, problem.targets[0]), tau=float(problem.tau))
    return (
        ce.sum().detach(),
        aug.sum().detach(),
        by_leaf[id(hidden)],
        by_leaf[id(decoder)],
        None if bias is None else by_leaf[id(bias)],
        torch.zeros_like(embedding) if d_embedding is None else d_embedding,
    )


def assert_same(problem, found, *, augmented=True, rtol=1e-11):
    for k in range(len(problem.hidden)):
        for actual, expected in zip(found, run_plain(problem.one(k), augmented=augmented), strict=True):
            if expected is None:
                assert actual is None
                continue
            actual = actual[k]
            torch.testing.assert_close(actual, expected.to(actual.dtype), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("unit_major", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("trials", [1, 3])
def test_losses_and_gradients_equal_autograd(trials, tied, unit_major):
    problem = make_problem(trials, tied=tied, unit_major=unit_major)
    assert_same(problem, run(problem))


@pytest.mark.parametrize("tied", [False, True])
def test_cross_entropy_alone_equals_autograd(tied):
    problem = make_problem(1, tied=tied)
    assert_same(problem, run(problem, augmented=False), augmented=False)


@pytest.mark.parametrize("tokens_per_chunk", [1, 5, 7, 12, 100])
@pytest.mark.parametrize("elements_per_block", [1, 30, 10_000])
def test_chunks_and_blocks_do_not_change_the_result(monkeypatch, tokens_per_chunk, elements_per_block):
    monkeypatch.setattr(scores, "ELEMENTS_PER_BLOCK", elements_per_block)
    monkeypatch.setattr("trainables.fused.head.TOKENS_PER_CHUNK", tokens_per_chunk)
    for problem in (make_problem(1, tied=False), make_problem(3, tied=True)):
        assert_same(problem, run(problem))


def test_single_precision_is_close_and_extreme_scores_stay_finite():
    problem = make_problem(1, tied=True, dtype=torch.float32)
    assert_same(problem, run(problem), rtol=1e-4)
    extreme = make_problem(1, tied=True, dtype=torch.float32, scale=12.0)  # scores of some +-1,000
    found = run(extreme)
    assert all(bool(torch.isfinite(x).all()) for x in found if x is not None)
    logits = extreme.hidden[0] @ extreme.weights.decoder[0].T
    expected = cross_entropy(logits.double(), extreme.targets[0]).sum()
    assert float(expected) / (STEPS * STREAMS) > 100  # probabilities below the smallest float32
    assert float(found[0]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("shape", [(5, 4, 7), (1, 1, 1), (35, 140, 300)])
def test_products_equal_matmul(shape):
    n, k, m = shape
    g = torch.Generator().manual_seed(0)
    for a in (torch.randn(n, k, generator=g), torch.randn(k, n, generator=g).t()):
        for b in (torch.randn(k, m, generator=g), torch.randn(m, k, generator=g).t()):
            expected = (a.double() @ b.double()).float()
            for found in (product(a, b), product(a.unsqueeze(0), b.unsqueeze(0))[0]):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            assert product(a.double(), b.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("unit_major", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_outer_products_are_added_or_overwrite(overwrite, unit_major, dtype):
    g = torch.Generator().manual_seed(0)
    left, right = torch.randn(1, 5, 9, generator=g, dtype=dtype), torch.randn(1, 5, 3, generator=g, dtype=dtype)
    out = torch.ones(1, 3, 9, dtype=dtype).transpose(1, 2) if unit_major else torch.ones(1, 9, 3, dtype=dtype)
    expected = left[0].T @ right[0] + (0 if overwrite else 1)
    add_outer(out, left, right, overwrite=overwrite)
    torch.testing.assert_close(out[0], expected)


def test_rows_are_gathered_and_added_with_repeats():
    table = torch.zeros(2, 4, 3)
    index = torch.tensor([[1, 1], [0, 3]])
    add_rows(table, index, torch.ones(2, 2, 3))
    assert table[:, :, 0].tolist() == [[0, 2, 0, 0], [1, 0, 0, 1]]
    assert gather_rows(table, index)[:, :, 0].tolist() == [[2, 2], [1, 1]]
    assert gather_rows(table[:1], index[:1])[:, :, 0].tolist() == [[2, 2]]


def test_the_faster_product_is_found_where_torch_has_it():
    """If an upgrade of torch takes the operator away, training slows down silently: this says so."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch was built without oneDNN")
    assert HAS_ONEDNN_LINEAR


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("flow", [True, False])
@pytest.mark.parametrize("trials", [1, 3])
def test_a_gpus_way_without_gathered_rows_gives_the_same_values_and_gradients(trials, flow, tied):
    problem = make_problem(trials, tied=tied)
    problem.flow.fill_(float(flow))
    here, there = (run(problem, gathered=gathered) for gathered in (True, False))
    for x, y in zip(here, there, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            torch.testing.assert_close(y, x, rtol=1e-10, atol=1e-10)
    for k in range(trials):
        for x, y in zip(there, run_plain(problem.one(k)), strict=True):
            if x is not None:
                torch.testing.assert_close(x[k].reshape(y.shape), y, rtol=1e-9, atol=1e-9)
