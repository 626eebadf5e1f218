"""Trials for the tests of packs, and the same trials alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trainables.config import paper_config
from trainables.data.batching import zipf_tokens
from trainables.pack.pack import Pack, PackSlot
from trainables.recipes import CORPORA, VARIANTS
from trainables.trial.training import Training

VOCAB = CORPORA["toy"].vocab_size
TOKENS = zipf_tokens(VOCAB, 4 * (7 * 5 + 1), seed=0)
TEXT = zipf_tokens(VOCAB, 53, seed=5)
OWN = (
    {"drop_prob": 0.3, "lr": 1.0, "max_grad_norm": 5.0, "lr_decay": 0.5, "lr_decay_start_epoch": 1},
    {"drop_prob": 0.5, "lr": 0.5, "max_grad_norm": 0.3, "input_dropout": True, "init_range": 0.2},
    {"drop_prob": 0.0, "lr": 0.7, "max_grad_norm": 1.0, "input_dropout": True, "second_session_epoch": 2},
    {"drop_prob": 0.7, "lr": 0.2, "max_grad_norm": 0.1},
)
OWN_LOSS = (
    {"tau": 20.0, "gamma": 0.5, "target_gradient": "flow"},
    {"tau": 5.0, "gamma": 0.7, "target_gradient": "stop"},
    {"tau": 9.0, "gamma": 0.2, "target_gradient": "stop"},
    {"tau": 2.0, "gamma": 1.5, "target_gradient": "flow"},
)
stacked = pytest.mark.parametrize("stacked", [False, True])


def make_config(number, variant="real", **changes):
    """Trials that differ in everything that is a trial's own."""
    loss = OWN_LOSS[number] if VARIANTS[variant].augmented_loss else {}
    config = paper_config(variant, "tiny", "toy", seed=number + 10)
    return dataclasses.replace(config, **{"batch_size": 4, "bptt": 7} | OWN[number] | loss | changes)


def make_pack(num_slots=4, variant="real", dtype=torch.float64, **settings):
    return Pack(make_config(0, variant), TOKENS, num_slots, dtype=dtype, **settings)


def timeless(result):
    return dataclasses.replace(result, train_s=0.0)


def alone(config, num_epochs, dtype=torch.float64):
    training = Training(config, TOKENS, dtype=dtype)
    return training, [timeless(training.train_epoch()) for _ in range(num_epochs)]


def alone_in_a_stack(config, num_epochs, dtype=torch.float64):
    pack = Pack(config, TOKENS, 1, dtype=dtype, stacked=True)
    pack.admit(config)
    return PackSlot(pack, 0), [timeless(pack.train_epoch()[0]) for _ in range(num_epochs)]


def assert_same_state(a, b):
    assert a["config"] == b["config"]
    assert a["epoch"] == b["epoch"]
    assert torch.equal(a["mask_generator"], b["mask_generator"])
    assert a["model"].keys() == b["model"].keys()
    for name, weight in a["model"].items():
        assert weight.dtype == b["model"][name].dtype
        assert torch.equal(weight, b["model"][name]), name


def diverging(number, variant="real"):
    return make_config(number, variant, lr=1e308, max_grad_norm=1e200)
