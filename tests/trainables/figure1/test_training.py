from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import autograd as reference
from trainables.data.batching import windows, zipf_tokens
from trainables.figure1.config import OPTIMIZERS, SubspaceConfig
from trainables.figure1.training import SubspaceTraining, first_token, measure_epoch_s
from trainables.models.distance import ExplainedShare
from trainables.models.losses import augmented_loss, cross_entropy, target_logits
from trainables.recipes import FIGURE1
from trainables.trial.epoch_result import NonFiniteLossError

TOKENS = np.asarray(zipf_tokens(401, 3000, seed=5), dtype=np.int32)


def config(**changes) -> SubspaceConfig:
    """A run that takes a fraction of a second."""
    small = {
        "beta": 1.0, "tau": 10.0, "seed": 3, "num_epochs": 4, "corpus": "toy", "num_tokens": 400, "hidden_size": 6,
        "batch_size": 4, "bptt": 7,
    }  # fmt: skip
    return SubspaceConfig(**(small | changes))


def first_window(training: SubspaceTraining) -> tuple[Tensor, Tensor]:
    return next(iter(windows(training._streams, training.config.bptt, partial=False)))


def formula(training: SubspaceTraining) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Loss (6.1) of the first window, summed over the steps and averaged over the streams, its gradients, and a."""
    run = training.config
    weights = {n: p.detach().clone().requires_grad_() for n, p in training.model.named_parameters()}
    inputs, targets = first_window(training)
    state = training._step.zero_state()
    ones = torch.ones(3, run.batch_size, run.hidden_size, dtype=torch.float64)
    logits = reference.run_window(weights, inputs, targets, state, ones).logits
    scores = logits - weights["decoder_bias"]
    j = cross_entropy(logits, targets)
    j_aug = augmented_loss(
        scores,
        target_logits(weights["embedding"], targets),
        tau=run.tau,
        target_gradient=run.target_gradient,
    )
    total = (run.beta * run.tau**2 * training.vocab_size * j_aug + (1 - run.beta) * j).sum() / run.batch_size
    gradients = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
    losses = torch.stack([j.sum(), j_aug.sum()]).detach()
    return losses, dict(zip(weights, gradients, strict=True)), scores.detach()


@pytest.mark.parametrize("vocabulary", ["corpus", "excerpt"])
@pytest.mark.parametrize(
    ("beta", "tau", "target_gradient"),
    [(0.0, 10.0, "flow"), (0.3, 10.0, "flow"), (0.3, 2.0, "stop"), (1.0, 2.0, "flow"), (1.0, 40.0, "stop")],
)
def test_the_gradients_are_those_of_the_formula(beta: float, tau: float, target_gradient: str, vocabulary: str) -> None:
    training = SubspaceTraining(
        config(beta=beta, tau=tau, target_gradient=target_gradient, vocabulary=vocabulary, init_range=0.6),
        TOKENS,
        dtype=torch.float64,
    )
    with torch.no_grad():
        training.model.decoder_bias.uniform_(-0.5, 0.5)  # y has it, y-hat has not
    losses, gradients, scores = formula(training)
    state = training._step.zero_state()
    window, _ = training._step.measure(*first_window(training), state)
    torch.testing.assert_close(torch.stack([window.cross_entropy, window.augmented]), losses, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(window.hidden @ training.model.decoder.detach().t(), scores.flatten(0, 1))
    found = {name: gradient / training.config.batch_size for name, gradient in training._step.named_gradients().items()}
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("tau", [10.0, 40.0])
def test_the_augmented_loss_of_a_float32_run_is_that_of_float64(tau: float) -> None:
    """At tau 40 it is 1.1e-5 nats per token here, some twenty units in the last place of a float32 log V: summed in
    float32 it is off by 1 to 12 %, window by window."""
    run = config(tau=tau, num_epochs=1, hidden_size=30, target_gradient="stop")
    single, double = (SubspaceTraining(run, TOKENS, dtype=dtype) for dtype in (torch.float32, torch.float64))
    double.model.load_state_dict(single.model.state_dict())
    assert double.model.embedding.dtype == torch.float64
    state = single._step.zero_state()
    for inputs, targets in windows(single._streams, 7, partial=False):
        doubles = tuple(x.double() for x in state)
        window, state = single._step.measure(inputs, targets, state)
        expected, _ = double._step.measure(inputs, targets, doubles)
        assert window.augmented.dtype == torch.float64
        assert float(window.augmented) == pytest.approx(float(expected.augmented), rel=3e-4)


def test_at_beta_zero_tau_changes_nothing_and_at_beta_one_the_bias_learns_nothing() -> None:
    def weights(**changes) -> dict[str, Tensor]:
        training = SubspaceTraining(config(**changes), TOKENS)
        training.train_epoch()
        return training.state_dict()["model"]

    cold, hot = weights(beta=0.0, tau=2.0), weights(beta=0.0, tau=40.0)
    assert all(torch.equal(cold[name], hot[name]) for name in cold)
    assert cold["decoder_bias"].abs().max() > 0
    assert weights(beta=1.0)["decoder_bias"].abs().max() == 0  # only J sees it


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_word_vectors_keep_norm_one_while_they_move(optimizer: str) -> None:
    training = SubspaceTraining(config(beta=0.5, optimizer=optimizer, target_gradient="flow", lr=1.0), TOKENS)
    before = training.model.embedding.detach().clone()
    torch.testing.assert_close(before.norm(dim=1), torch.ones(len(before)))
    training.train_epoch()
    after = training.model.embedding.detach()
    torch.testing.assert_close(after.norm(dim=1), torch.ones(len(after)))
    assert (after - before).abs().max() > 1e-4


def test_adam_is_adam() -> None:
    """Against torch's own, on the gradients that the step computes."""
    training = SubspaceTraining(
        config(beta=0.5, optimizer="adam", lr=0.01, embedding_lr_share=1.0, layer_lr_share=1.0),
        TOKENS,
        dtype=torch.float64,
    )
    step, state = training._step, training._step.zero_state()
    copies = {n: p.detach().clone().requires_grad_() for n, p in training.model.named_parameters()}
    other = torch.optim.Adam(copies.values(), lr=0.01)
    for inputs, targets in itertools.islice(windows(training._streams, 7, partial=False), 3):
        _, state = step.measure(inputs, targets, state)
        step.clip()
        for name, gradient in step.named_gradients().items():
            copies[name].grad = gradient.clone()
        step.update(0.01)
        other.step()
        with torch.no_grad():
            copies["embedding"] /= copies["embedding"].norm(dim=1, keepdim=True)
    for name, parameter in training.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), copies[name].detach())


def test_the_word_vectors_rate_falls_with_the_square_of_the_decoders() -> None:
    """Adam's first step is its learning rate, whatever the gradient."""

    def rates(lr: float) -> list[float]:
        run = config(optimizer="adam", target_gradient="flow", lr=0.1, embedding_lr_share=0.01, layer_lr_share=0.5)
        training = SubspaceTraining(run, TOKENS, dtype=torch.float64)
        named = dict(training.model.named_parameters())
        before = {name: p.detach().clone() for name, p in named.items()}
        training._step.measure(*first_window(training), training._step.zero_state())
        training._step.update(lr)
        names = ("decoder_weight", "layers.0.weight_x")
        steps = [(named[name].detach() - before[name]).abs().max() for name in names]
        e, old = named["embedding"].detach(), before["embedding"]
        # Normalising changes the word vector's length only: the step across it keeps its length.
        across = (e / (e * old).sum(1, keepdim=True) - old).norm(dim=1)
        return [float(step) for step in steps] + [float(across.max())]

    full, half = rates(0.1), rates(0.05)
    assert full[:2] == pytest.approx([0.1, 0.05], rel=1e-3)
    assert half[:2] == pytest.approx([0.05, 0.025], rel=1e-3)
    assert full[2] / half[2] == pytest.approx(4, rel=0.02)


def test_sgd_takes_a_clipped_step() -> None:
    training = SubspaceTraining(config(optimizer="sgd", max_grad_norm=0.5), TOKENS, dtype=torch.float64)
    before = training.model.decoder.detach().clone()
    training._step.measure(*first_window(training), training._step.zero_state())
    gradients = {name: gradient / 4 for name, gradient in training._step.named_gradients().items()}
    norm = torch.sqrt(sum(g.square().sum() for g in gradients.values()))
    assert norm > 0.5
    torch.testing.assert_close(training._step.clip(), norm)
    training._step.update(0.1)
    expected = before - 0.1 * 0.5 / norm * gradients["decoder_weight"]
    torch.testing.assert_close(training.model.decoder.detach(), expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_is_uninterrupted_bit_for_bit(optimizer: str, tmp_path) -> None:
    run = config(beta=0.5, optimizer=optimizer, target_gradient="flow")
    whole, first = SubspaceTraining(run, TOKENS), SubspaceTraining(run, TOKENS)
    expected = [whole.train_epoch() for _ in range(4)]
    assert [first.train_epoch() for _ in range(2)] == expected[:2]
    torch.save(first.state_dict(), tmp_path / "run.pt")
    second = SubspaceTraining(run, TOKENS)
    second.load_state_dict(torch.load(tmp_path / "run.pt", weights_only=True))
    assert second.epoch == 2
    assert [second.train_epoch() for _ in range(2)] == expected[2:]
    ours, theirs = second.state_dict()["model"], whole.state_dict()["model"]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert second.subspace_distance() == whole.subspace_distance()


def test_a_state_of_another_run_is_refused() -> None:
    state = SubspaceTraining(config(), TOKENS).state_dict()
    with pytest.raises(ValueError, match="this run's config"):
        SubspaceTraining(config(tau=11.0), TOKENS).load_state_dict(state)


def test_a_seed_picks_the_excerpt_and_the_weights_and_nothing_else_does() -> None:
    runs = [SubspaceTraining(config(beta=beta, seed=seed), TOKENS) for seed in (0, 1) for beta in (0.0, 1.0)]
    starts = [run.first_token for run in runs]
    assert starts[0] == starts[1] != starts[2] == starts[3]
    assert torch.equal(runs[0].model.embedding, runs[1].model.embedding)
    assert not torch.equal(runs[1].model.layers[0].weight_x, runs[2].model.layers[0].weight_x)
    places = [first_token(config(seed=seed, num_tokens=400), 402) for seed in range(200)]
    assert set(places) == {0, 1, 2}  # the last place is one of them


def test_the_explained_share_is_that_of_the_epochs_own_windows() -> None:
    """At a learning rate near zero all windows see the same weights: one regression over the epoch's tokens."""
    training = SubspaceTraining(config(lr=1e-12, num_epochs=1), TOKENS, dtype=torch.float64)
    found = training.train_epoch().explained_share
    state, hidden, vectors = training._step.zero_state(), [], []
    for inputs, targets in windows(training._streams, 7, partial=False):
        window, state = training._step.measure(inputs, targets, state)
        hidden.append(window.hidden.clone())
        vectors.append(training.model.embedding.detach()[targets.reshape(-1)])
    share = ExplainedShare()
    share.add(torch.cat(hidden), torch.cat(vectors))
    assert found == pytest.approx(share.value(), abs=1e-9)
    assert 0 < found < 0.2


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_zero() -> None:
    run = config(lr=1.0, num_epochs=10, warmup_epochs=2)
    assert run.num_windows == 14
    first = [run.lr_at(1, window) for window in range(1, 15)]
    assert first == pytest.approx([window / 28 for window in range(1, 15)])
    assert run.lr_at(2, 14) == pytest.approx(0.9)
    for window in (1, 14):
        assert [run.lr_at(epoch, window) for epoch in range(3, 11)] == pytest.approx([0.1 * k for k in range(8, 0, -1)])
    assert config(lr=1.0, num_epochs=10, warmup_epochs=0).lr_at(1, 1) == 1.0


def test_a_run_ends_where_the_distance_no_longer_falls() -> None:
    run = config(num_epochs=9, warmup_epochs=2, plateau_epochs=2, plateau_fall=0.1)
    warm = [0.3, 0.2]  # counts for nothing
    assert not run.ends_after([*warm, 1.0, 1.0, 1.0])
    assert run.ends_after([*warm, 1.0, 1.0, 1.0, 1.0])
    assert run.ends_after([*warm, 1.0, 0.8, 0.87, 0.77])  # a mean of .82 after one of .9: 9 %
    assert not run.ends_after([*warm, 1.0, 0.8, 0.85, 0.75])  # 11 %
    assert not run.ends_after([*warm, 0.1, 1.0, 0.8, 0.85, 0.75])  # only the last four count
    assert not run.ends_after([*warm, *(0.8**i for i in range(6))])
    assert run.ends_after([*warm, *(0.8**i for i in range(7))])  # the last epoch
    always = config(num_epochs=20, warmup_epochs=2, plateau_epochs=None)
    assert [always.ends_after([1.0] * n) for n in (19, 20)] == [False, True]


def test_no_run_ends_in_its_warm_up() -> None:
    run = config(num_epochs=50, warmup_epochs=30, plateau_epochs=1, plateau_fall=1.0)
    assert next(n for n in range(1, 50) if run.ends_after([1.0] * n)) == 32


def test_the_excerpt_vocabulary_has_the_excerpts_words() -> None:
    run = SubspaceTraining(config(vocabulary="excerpt"), TOKENS)
    excerpt = TOKENS[run.first_token : run.first_token + 400]
    assert run.vocab_size == len(set(excerpt.tolist())) == run.model.outputs.vocab_size
    assert SubspaceTraining(config(vocabulary="corpus"), TOKENS).vocab_size == 401


def test_the_augmented_loss_drives_the_decoder_into_the_embeddings_subspace() -> None:
    """Section 6.2 in miniature."""

    def distances(beta: float) -> tuple[float, float]:
        text = np.tile(TOKENS[:40], 40)  # soon learnt by heart
        run = config(beta=beta, num_epochs=15, bptt=9, lr=0.1, layer_lr_share=0.3, warmup_epochs=0)
        training = SubspaceTraining(run, text)
        before = training.subspace_distance()
        for _ in range(training.config.num_epochs):
            training.train_epoch()
        return before, training.subspace_distance()

    before, after = distances(1.0)
    assert before > 0.95
    assert after < 0.1
    before, after = distances(0.0)
    assert abs(after - before) < 0.02


def test_divergence_says_where() -> None:
    training = SubspaceTraining(config(), TOKENS)
    with torch.no_grad():
        training.model.layers[1].bias[0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"epoch 1, window 1 of 14: J nan, .*learning rate 0\.0"):
        training.train_epoch()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 1.2}, "beta must be a number in [0, 1], got 1.2"),
        ({"beta": True}, "beta must be a number in [0, 1], got True"),
        ({"tau": 0.0}, "tau must be a number in (0, inf), got 0.0"),
        ({"lr": float("nan")}, "lr must be a number in (0, inf), got nan"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"num_epochs": 1.5}, "num_epochs must be a whole number of at least 1, got 1.5"),
        ({"num_tokens": 31}, "num_tokens must be a whole number of at least 32, got 31"),
        ({"optimizer": "lbfgs"}, "optimizer must be one of shampoo, adam, sgd, got 'lbfgs'"),
        ({"vocabulary": "own"}, "vocabulary must be one of corpus, excerpt, got 'own'"),
        ({"target_gradient": "none"}, "target_gradient must be one of flow, stop, got 'none'"),
        ({"corpus": "ptbb"}, "corpus must be one of ptb, .*, got 'ptbb'"),
    ],
)
def test_refused_values_say_the_rule(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message if ".*" in message else re.escape(message)):
        config(**changes)


def test_config_round_trips_and_refuses_unknown_fields() -> None:
    assert SubspaceConfig.from_dict(config().to_dict()) == config()
    with pytest.raises(ValueError, match="no field gamma; its fields are beta, tau"):
        SubspaceConfig.from_dict(config().to_dict() | {"gamma": 1.0})
    with pytest.raises(ValueError, match="needs seed, tau"):
        SubspaceConfig.from_dict({"beta": 1.0})


def test_the_paper_gives_the_text_and_the_network() -> None:
    assert (FIGURE1.num_tokens, FIGURE1.hidden_size, FIGURE1.num_seeds, FIGURE1.tau) == (20_000, 300, 10, 10.0)
    assert {0.0, 1.0} <= set(FIGURE1.betas)
    assert 2.0 in FIGURE1.taus
    assert 40.0 in FIGURE1.taus


def test_a_split_shorter_than_the_excerpt_is_refused() -> None:
    with pytest.raises(ValueError, match="num_tokens = 400 at least, got 399"):
        SubspaceTraining(config(), TOKENS[:399])


def test_an_epochs_time_is_measured() -> None:
    assert measure_epoch_s(config(), num_threads=1) > 0
