"""The contract of every cell; a trial of a new cell trains, resumes and is evaluated like any other."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.support import tanh_cell
from trainables import recipes
from trainables.config import TrialConfig, paper_config
from trainables.models import make_model
from trainables.models.base import LanguageModel
from trainables.models.dropout import draw_masks, scale_masks, variational_masks
from trainables.pack.pack import begin_trial
from trainables.pack.probe import probe_step_seconds
from trainables.trial.evaluation import nats_per_token, token_log_probs
from trainables.trial.predictions import read_text
from trainables.trial.training import Training

TOKENS = torch.randint(50, (800,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _tanh(monkeypatch: pytest.MonkeyPatch) -> None:
    tanh_cell.register(monkeypatch)


@pytest.fixture(params=[*recipes.CELLS, "tanh"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    generator = torch.Generator().manual_seed(1)
    return make_model(
        23, 8, tie_weights=False, init_range=0.5, cell=request.param, generator=generator, dtype=torch.float64
    )


def words(num_steps: int, num_streams: int) -> torch.Tensor:
    return torch.randint(23, (num_steps, num_streams), generator=torch.Generator().manual_seed(2))


def make_config(**changes: object) -> TrialConfig:
    return dataclasses.replace(paper_config("rnn", "tiny", "toy"), batch_size=4, bptt=7, **changes)


def test_the_state_carries_a_text_across_windows(model: LanguageModel) -> None:
    text = words(9, 2)
    whole, end = model(text, model.zero_state(2))
    first, state = model(text[:4], model.zero_state(2))
    second, after = model(text[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(after, end)


def test_streams_come_first_in_the_state_and_do_not_mix(model: LanguageModel) -> None:
    together, state = model(words(5, 3), model.zero_state(3))
    for stream in range(3):
        alone, _ = model(words(5, 3)[:, stream, None], model.zero_state(1))
        torch.testing.assert_close(together[:, stream, None], alone)
    assert all(x.shape[0] == 3 for layer in state for x in layer)


def test_masks_of_ones_are_no_masks_and_others_reach_input_recurrence_and_output(model: LanguageModel) -> None:
    text, state = words(5, 2), model.zero_state(2)
    ones = torch.ones(3, 2, 8, dtype=torch.float64)
    plain, _ = model(text, state)
    assert torch.equal(model(text, state, variational_masks(ones))[0], plain)
    masks = scale_masks(draw_masks(2, 8, 0.5, torch.Generator().manual_seed(3)), 0.5, input_dropout=True, like=plain)
    for index in range(3):
        one = ones.clone()
        one[index] = masks[index]
        assert not torch.allclose(model(text, state, variational_masks(one))[0], plain)
    hidden, _ = model.hidden_states(text, state, variational_masks(masks))
    assert torch.equal(hidden != 0, (masks[-1] != 0).expand_as(hidden))


def test_gradients_reach_every_parameter(model: LanguageModel) -> None:
    total, _, _, _ = model.losses(words(5, 2), words(5, 2), model.zero_state(2))
    for gradient in torch.autograd.grad(total.sum(), list(model.parameters())):
        assert bool((gradient != 0).any())


def test_a_trial_of_a_new_cell_learns_and_resumes_bit_for_bit() -> None:
    whole = begin_trial(make_config(lr=0.1), TOKENS, device="cpu")
    losses = [whole.train_epoch().train_loss for _ in range(4)]
    assert losses[-1] < losses[0] - 0.1
    first = begin_trial(make_config(lr=0.1), TOKENS, device="cpu")
    again = [first.train_epoch().train_loss for _ in range(2)]
    second = begin_trial(make_config(lr=0.1), TOKENS, first.state_dict(), device="cpu")
    again += [second.train_epoch().train_loss for _ in range(2)]
    assert again == losses
    assert all(torch.equal(p, second.model_state()[name]) for name, p in whole.model_state().items())


def test_a_new_cell_reports_divergence_and_distance() -> None:
    training = Training(make_config(), TOKENS)
    distance = training.subspace_distance()
    assert distance is not None
    assert 0 < distance <= 1
    diverged = Training(make_config(lr=1e38, max_grad_norm=1e38), TOKENS)
    with pytest.raises(ArithmeticError, match="training diverged: epoch 1, window"):
        diverged.train_epoch()


def test_evaluation_token_scores_and_predictions_agree() -> None:
    training = Training(make_config(), TOKENS, dtype=torch.float64)
    training.train_epoch()
    model, text = training.model, TOKENS[:60]
    logits, _ = model(torch.cat([torch.tensor([9]), text[:-1]])[:, None], model.zero_state(1))
    expected = torch.log_softmax(logits[:, 0].detach(), -1)
    scores = token_log_probs(model, text, eos_id=9)
    torch.testing.assert_close(scores, expected[torch.arange(60), text].float())
    nats = nats_per_token(model, text, eos_id=9, batch_size=1)
    assert nats == pytest.approx(-float(scores.double().mean()), rel=1e-6)
    reading = read_text(model, text, eos_id=9, words=[3], positions=[7, 59])
    np.testing.assert_allclose(reading.distributions[59], expected[59].exp(), rtol=1e-10)
    assert reading.mass[0] == pytest.approx(float(expected[:, 3].exp().mean()), rel=1e-10)


def test_the_probe_measures_a_new_cell() -> None:
    probe = probe_step_seconds(make_config(), device="cpu", limit_s=0.2)
    assert all(x > 0 and math.isfinite(x) for x in probe)
