"""The model: its parameters, its masks, and what it becomes without dropout."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from tests.support.autograd import parameters, run_window
from trainables.config import paper_config
from trainables.models.vdlstm import VDLSTM, draw_masks, scale_masks

NUM_PARAMS = {  # one bias vector per gate
    ("ptb", False): {"small": 4_651_600, "medium": 19_775_200, "large": 66_022_000},
    ("ptb", True): {"small": 2_641_600, "medium": 13_265_200, "large": 51_012_000},
    ("wikitext2", False): {"small": 13_986_078, "medium": 50_059_878, "large": 135_879_278},
    ("wikitext2", True): {"small": 7_297_200, "medium": 28_395_900, "large": 85_929_000},
}
VARIANTS = {False: ("baseline", "al"), True: ("re", "real")}
CELLS = [
    (variant, size, corpus, expected)
    for (corpus, tied), sizes in NUM_PARAMS.items()
    for (size, expected), variant in itertools.product(sizes.items(), VARIANTS[tied])
]


def make_model(*, tied=True, seed=0, dtype=torch.float64, vocab_size=19, hidden_size=8, init_range=0.5, **options):
    return VDLSTM(
        vocab_size, hidden_size, tie_weights=tied, init_range=init_range,
        generator=torch.Generator().manual_seed(seed), dtype=dtype, **options,
    )  # fmt: skip


def as_nn_lstm(model, masks=None):
    """``nn.LSTM`` with the model's weights, its gates reordered from o, i, f, g to i, f, g, o.

    With masks (L + 1, 1, H) of a single stream, each mask is multiplied into the weights that read what it masks.
    """
    h = model.hidden_size
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


def set_biases(model):
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.copy_(torch.linspace(-1, 1, p.numel()))


@pytest.mark.parametrize(("variant", "size", "corpus", "expected"), CELLS)
def test_parameter_counts(variant, size, corpus, expected):
    config = paper_config(variant, size, corpus)
    assert VDLSTM.from_config(config, device="meta").num_params == expected == config.num_params


def test_tied_decoder_is_the_embedding_and_stays_it():
    model = make_model(tied=True)
    for m in (model, copy.deepcopy(model)):
        m.reset_parameters(0.1)
        m.load_state_dict(model.state_dict())
        assert m.decoder is m.embedding
        assert m.decoder_bias is None
        assert sorted(n.split(".")[-1] for n, _ in m.named_parameters()) == sorted(
            ["embedding"] + ["weight_x", "weight_h", "bias"] * 2
        )
    untied = make_model(tied=False)
    assert untied.decoder is untied.decoder_weight
    assert not torch.equal(untied.decoder, untied.embedding)


def test_weights_start_uniform_and_biases_at_zero():
    model = make_model(tied=False, vocab_size=300, hidden_size=40, init_range=0.05)
    for name, p in model.state_dict().items():
        if "bias" in name:
            assert (p == 0).all()
            continue
        assert float(p.abs().max()) <= 0.05
        assert float(p.abs().max()) > 0.049
        assert float(p.std()) == pytest.approx(0.05 / 3**0.5, rel=0.03)


def test_a_seed_gives_the_same_weights_tied_or_not_in_every_precision_and_memory_order():
    model = make_model(tied=True, dtype=torch.float32)
    others = [
        make_model(tied=False, dtype=torch.float32),
        make_model(dtype=torch.float64),
        make_model(dtype=torch.float32, word_major=False),
    ]
    for other in others:
        found = dict(other.named_parameters())
        assert all(torch.equal(p, found[name].to(p.dtype)) for name, p in model.named_parameters())
    assert not torch.equal(model.embedding, make_model(seed=1, dtype=torch.float32).embedding)


@pytest.mark.parametrize("tied", [False, True])
def test_without_dropout_it_is_nn_lstm(tied):
    model = make_model(tied=tied)
    set_biases(model)
    inputs = torch.randint(19, (6, 3), generator=torch.Generator().manual_seed(2))
    logits, state = model(inputs, model.zero_state(3))
    output, (hidden, cell) = as_nn_lstm(model)(nn.functional.embedding(inputs, model.embedding))
    torch.testing.assert_close(logits, nn.functional.linear(output, model.decoder, model.decoder_bias).detach())
    torch.testing.assert_close(state, (hidden.detach(), cell.detach()))
    # and a mask that keeps all is no mask
    kept = draw_masks(3, 8, 0.0, torch.Generator().manual_seed(0))
    masks = scale_masks(kept, 0.0, input_dropout=True, like=logits)
    assert torch.equal(model(inputs, model.zero_state(3), masks)[0], logits)


@pytest.mark.parametrize("input_dropout", [False, True])
def test_one_stream_with_its_masks_folded_into_the_weights_is_nn_lstm(input_dropout):
    model = make_model()
    set_biases(model)
    kept = draw_masks(1, 8, 0.5, torch.Generator().manual_seed(5))
    masks = scale_masks(kept, 0.5, input_dropout=input_dropout, like=model.embedding.detach())
    inputs = torch.randint(19, (7, 1), generator=torch.Generator().manual_seed(2))
    hidden, state = model.hidden_states(inputs, model.zero_state(1), masks)
    output, (final_hidden, final_cell) = as_nn_lstm(model, masks)(nn.functional.embedding(inputs, model.embedding))
    torch.testing.assert_close(hidden, (output * masks[-1]).detach())
    torch.testing.assert_close(state, (final_hidden.detach(), final_cell.detach()))  # carried undropped


@pytest.mark.parametrize("tied", [False, True])
def test_logits_equal_the_plain_model(tied):
    model = make_model(tied=tied)
    set_biases(model)
    g = torch.Generator().manual_seed(4)
    masks = scale_masks(draw_masks(3, 8, 0.4, g), 0.4, input_dropout=True, like=model.embedding.detach())
    inputs = torch.randint(19, (5, 3), generator=g)
    state = tuple(torch.randn(2, 3, 8, generator=g, dtype=torch.float64) for _ in range(2))
    logits, new_state = model(inputs, state, masks)
    expected = run_window(parameters(model), inputs, inputs, state, masks)
    torch.testing.assert_close(logits, expected.logits.detach())
    torch.testing.assert_close(new_state, expected.state)


def test_the_state_carries_a_text_across_windows():
    model = make_model()
    inputs = torch.randint(19, (9, 2), generator=torch.Generator().manual_seed(2))
    whole, _ = model(inputs, model.zero_state(2))
    first, state = model(inputs[:4], model.zero_state(2))
    second, _ = model(inputs[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)


def test_masks_have_their_shape_scale_and_mean():
    kept = draw_masks(200, 100, 0.35, torch.Generator().manual_seed(0))
    masks = scale_masks(kept, 0.35, input_dropout=True, like=torch.zeros(1))
    assert masks.shape == (3, 200, 100)
    assert masks.unique().tolist() == [0.0, pytest.approx(1 / 0.65)]
    assert float(masks.mean()) == pytest.approx(1.0, abs=0.01)
    assert float((~kept).float().mean()) == pytest.approx(0.35, abs=0.01)


def test_masks_differ_between_examples_layers_and_windows():
    generator = torch.Generator().manual_seed(0)
    first, second = (draw_masks(20, 50, 0.5, generator) for _ in range(2))
    assert not torch.equal(first, second)
    rows = {tuple(row.tolist()) for window in (first, second) for layer in window for row in layer}
    assert len(rows) == 2 * 3 * 20


def test_the_inputs_mask_is_all_ones_unless_asked_for_and_does_not_shift_the_others():
    kept = draw_masks(4, 6, 0.5, torch.Generator().manual_seed(0))
    without, with_input = (scale_masks(kept, 0.5, input_dropout=i, like=torch.zeros(1)) for i in (False, True))
    assert (without[0] == 1).all()
    assert (with_input[0] != 1).all()
    assert torch.equal(without[1:], with_input[1:])


def test_masks_are_constant_over_the_window():
    model = make_model()
    kept = draw_masks(3, 8, 0.5, torch.Generator().manual_seed(1))
    masks = scale_masks(kept, 0.5, input_dropout=False, like=model.embedding.detach())
    inputs = torch.randint(19, (10, 3), generator=torch.Generator().manual_seed(2))
    hidden, _ = model.hidden_states(inputs, model.zero_state(3), masks)
    assert torch.equal(hidden != 0, kept[-1].expand_as(hidden))
