"""The model: its parameters, its masks, and ``nn.LSTM`` without dropout."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from tests.support.autograd import parameters, run_window
from trainables.config import paper_config
from trainables.models import build_model, make_model, num_params
from trainables.models.dropout import draw_masks, scale_masks, variational_masks

NUM_PARAMS = {  # one bias vector per gate
    ("ptb", False): {"small": 4_651_600, "medium": 19_775_200, "large": 66_022_000},
    ("ptb", True): {"small": 2_641_600, "medium": 13_265_200, "large": 51_012_000},
    ("wikitext2", False): {"small": 13_986_078, "medium": 50_059_878, "large": 135_879_278},
    ("wikitext2", True): {"small": 7_297_200, "medium": 28_395_900, "large": 85_929_000},
}
# Checkpoints have these names, and gradients are clipped in this order.
LAYERS = [f"layers.{number}.{name}" for number in range(2) for name in ("weight_x", "weight_h", "bias")]
VARIANTS = {False: ("baseline", "al"), True: ("re", "real")}
SETTINGS = [
    (variant, size, corpus, expected)
    for (corpus, tied), sizes in NUM_PARAMS.items()
    for (size, expected), variant in itertools.product(sizes.items(), VARIANTS[tied])
]


def small_model(*, tied=True, seed=0, dtype=torch.float64, vocab_size=19, hidden_size=8, init_range=0.5, **options):
    return make_model(
        vocab_size, hidden_size, tie_weights=tied, init_range=init_range,
        generator=torch.Generator().manual_seed(seed), dtype=dtype, **options,
    )  # fmt: skip


def as_nn_lstm(model, masks=None):
    """``nn.LSTM`` with the model's weights, its gates reordered from o, i, f, g to i, f, g, o.

    With masks (L + 1, 1, H) of a single stream, each mask is multiplied into the weights that read what it masks.
    """
    h = model.embedding.shape[1]
    lstm = nn.LSTM(h, h, len(model.layers)).double()
    order = torch.cat([torch.arange(h) + gate * h for gate in (1, 2, 3, 0)])
    with torch.no_grad():
        for n, layer in enumerate(model.layers):
            below, own = (1.0, 1.0) if masks is None else (masks[n, 0], masks[n + 1, 0])
            getattr(lstm, f"weight_ih_l{n}").copy_(layer.weight_x[order] * below)
            getattr(lstm, f"weight_hh_l{n}").copy_(layer.weight_h[order] * own)
            getattr(lstm, f"bias_ih_l{n}").copy_(layer.bias[order])
            getattr(lstm, f"bias_hh_l{n}").zero_()
    return lstm


def stacked(state):
    """(hidden, cell), each (L, B, H), as ``nn.LSTM`` and the oracle have the state."""
    return tuple(torch.stack(x).detach() for x in zip(*state, strict=True))


def set_biases(model):
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.copy_(torch.linspace(-1, 1, p.numel()))


@pytest.mark.parametrize(("variant", "size", "corpus", "expected"), SETTINGS)
def test_parameter_counts(variant, size, corpus, expected):
    config = paper_config(variant, size, corpus)
    assert build_model(config, device="meta").num_params == expected == num_params(config)


def test_tied_decoder_is_the_embedding_and_stays_it():
    model = small_model(tied=True)
    for m in (model, copy.deepcopy(model)):
        m.reset_parameters(0.1)
        m.load_state_dict(model.state_dict())
        assert m.decoder is m.embedding
        assert m.decoder_bias is None
        assert [n for n, _ in m.named_parameters()] == ["embedding", *LAYERS]
    untied = small_model(tied=False)
    names = ["embedding", "decoder_weight", "decoder_bias", *LAYERS]
    assert [n for n, _ in untied.named_parameters()] == list(untied.state_dict()) == names
    assert untied.decoder is untied.decoder_weight
    assert not torch.equal(untied.decoder, untied.embedding)


def test_weights_start_uniform_and_biases_at_zero():
    model = small_model(tied=False, vocab_size=300, hidden_size=40, init_range=0.05)
    for name, p in model.state_dict().items():
        if "bias" in name:
            assert (p == 0).all()
            continue
        assert float(p.abs().max()) <= 0.05
        assert float(p.abs().max()) > 0.049
        assert float(p.std()) == pytest.approx(0.05 / 3**0.5, rel=0.03)


def test_a_seed_gives_the_same_weights_tied_or_not_in_every_precision_and_memory_order():
    model = small_model(tied=True, dtype=torch.float32)
    others = [
        small_model(tied=False, dtype=torch.float32),
        small_model(dtype=torch.float64),
        small_model(dtype=torch.float32, word_major=False),
    ]
    for other in others:
        found = dict(other.named_parameters())
        assert all(torch.equal(p, found[name].to(p.dtype)) for name, p in model.named_parameters())
    assert not torch.equal(model.embedding, small_model(seed=1, dtype=torch.float32).embedding)


@pytest.mark.parametrize("tied", [False, True])
def test_without_dropout_it_is_nn_lstm(tied):
    model = small_model(tied=tied)
    set_biases(model)
    inputs = torch.randint(19, (6, 3), generator=torch.Generator().manual_seed(2))
    logits, state = model(inputs, model.zero_state(3))
    output, (hidden, cell) = as_nn_lstm(model)(nn.functional.embedding(inputs, model.embedding))
    torch.testing.assert_close(logits, nn.functional.linear(output, model.decoder, model.decoder_bias))
    torch.testing.assert_close(stacked(state), (hidden.detach(), cell.detach()))
    # and a mask that keeps all is no mask
    kept = draw_masks(3, 8, 0.0, torch.Generator().manual_seed(0))
    masks = scale_masks(kept, 0.0, input_dropout=True, like=logits)
    assert torch.equal(model(inputs, model.zero_state(3), variational_masks(masks))[0], logits)


@pytest.mark.parametrize("input_dropout", [False, True])
def test_one_stream_with_its_masks_folded_into_the_weights_is_nn_lstm(input_dropout):
    model = small_model()
    set_biases(model)
    kept = draw_masks(1, 8, 0.5, torch.Generator().manual_seed(5))
    masks = scale_masks(kept, 0.5, input_dropout=input_dropout, like=model.embedding.detach())
    inputs = torch.randint(19, (7, 1), generator=torch.Generator().manual_seed(2))
    hidden, state = model.hidden_states(inputs, model.zero_state(1), variational_masks(masks))
    output, (final_hidden, final_cell) = as_nn_lstm(model, masks)(nn.functional.embedding(inputs, model.embedding))
    torch.testing.assert_close(hidden, output * masks[-1])
    torch.testing.assert_close(stacked(state), (final_hidden.detach(), final_cell.detach()))  # carried undropped


@pytest.mark.parametrize("loss", [{}, {"gamma": 0.8, "tau": 3.0, "target_gradient": "flow"}])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_losses_gradients_and_state_are_the_oracles(tied, loss):
    model = small_model(tied=tied)
    set_biases(model)
    g = torch.Generator().manual_seed(4)
    masks = scale_masks(draw_masks(3, 8, 0.4, g), 0.4, input_dropout=True, like=model.embedding.detach())
    inputs, targets = (torch.randint(19, (5, 3), generator=g) for _ in range(2))
    state = tuple(torch.randn(2, 3, 8, generator=g, dtype=torch.float64) for _ in range(2))
    weights = parameters(model)
    expected = run_window(weights, inputs, targets, state, masks, **loss)
    window = inputs, tuple(zip(*state, strict=True)), variational_masks(masks)
    logits, carried = model(*window)
    torch.testing.assert_close(logits, expected.logits)
    torch.testing.assert_close(stacked(carried), expected.state)
    total, ce, augmented, carried = model.losses(inputs, targets, *window[1:], **loss)
    assert not any(x.requires_grad for layer in carried for x in layer)
    torch.testing.assert_close(stacked(carried), expected.state)
    torch.testing.assert_close(total.sum() / 3, expected.loss)
    torch.testing.assert_close(ce.sum(), expected.cross_entropy, check_stride=False)
    torch.testing.assert_close(augmented.sum(), expected.augmented)
    ours = torch.autograd.grad(total.sum() / 3, list(model.parameters()))
    torch.testing.assert_close(ours, torch.autograd.grad(expected.loss, [*weights.values()]), rtol=1e-10, atol=1e-12)
