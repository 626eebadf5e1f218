"""TrialConfig: refused values and their messages, derived values, and the paper's recipe as a config."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables import recipes
from trainables.config import TrialConfig, paper_config
from trainables.recipes import CORPORA, SIZES, VARIANTS

VALID: dict[str, Any] = {
    "variant": "real",
    "size": "small",
    "corpus": "ptb",
    "seed": 3,
    "max_epochs": 50,
    "drop_prob": 0.3,
    "input_dropout": False,
    "lr": 1.0,
    "lr_decay": 0.9,
    "lr_decay_start_epoch": 5,
    "max_grad_norm": 5.0,
    "init_range": 0.1,
    "gamma": 0.65,
    "tau": 20.0,
    "target_gradient": "flow",
}


def refusal(**changes: Any) -> str:
    """The message with which a config with these changes is refused."""
    with pytest.raises(ValueError, match=".") as error:
        TrialConfig(**{**VALID, **changes})
    return str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("variant", "reel", "baseline, al, re, real"),
        ("size", "huge", "tiny, small, medium, large"),
        ("corpus", "ptp", "ptb, wikitext2, wikitext2-a, wikitext2-b, toy"),
        ("seed", -1, "a whole number of at least 0"),
        ("seed", 1.5, "a whole number of at least 0"),
        ("seed", True, "a whole number of at least 0"),
        ("max_epochs", 0, "a whole number of at least 1"),
        ("drop_prob", 1.0, "[0, 1)"),
        ("drop_prob", -0.1, "[0, 1)"),
        ("drop_prob", math.nan, "[0, 1)"),
        ("drop_prob", "0.3", "[0, 1)"),
        ("drop_prob", True, "[0, 1)"),
        ("input_dropout", 1, "true or false"),
        ("lr", 0.0, "(0, inf)"),
        ("lr", math.inf, "(0, inf)"),
        ("lr_decay", 0.0, "(0, 1]"),
        ("lr_decay", 1.01, "(0, 1]"),
        ("lr_decay_start_epoch", -1, "a whole number of at least 0"),
        ("max_grad_norm", 0.0, "(0, inf)"),
        ("init_range", -0.1, "(0, inf)"),
        ("gamma", -0.1, "[0, inf)"),
        ("tau", 0.0, "(0, inf)"),
        ("target_gradient", "halt", "flow, stop"),
        ("second_session_epoch", 1, "a whole number of at least 2"),
        ("batch_size", 0, "a whole number of at least 1"),
        ("bptt", 0, "a whole number of at least 1"),
    ],
)
def test_a_refused_value_is_named_with_what_is_allowed(field: str, value: object, allowed: str) -> None:
    message = refusal(**{field: value})
    assert message.startswith(f"{field} must be ")
    assert allowed in message
    assert message.endswith(f"got {value!r}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drop_prob", 0.0),
        ("drop_prob", 0),
        ("lr_decay", 1.0),
        ("lr_decay_start_epoch", 0),
        ("gamma", 0.0),
        ("seed", 0),
        ("max_epochs", 1),
        ("second_session_epoch", 2),
        ("target_gradient", "stop"),
    ],
)
def test_the_edge_of_what_is_allowed_is_allowed(field: str, value: object) -> None:
    assert getattr(TrialConfig(**{**VALID, field: value}), field) == value


@pytest.mark.parametrize("variant", [v.name for v in VARIANTS.values() if not v.augmented_loss])
@pytest.mark.parametrize("field", ["gamma", "tau", "target_gradient"])
def test_a_variant_without_the_augmented_loss_refuses_its_parameters(variant: str, field: str) -> None:
    without = {"gamma": None, "tau": None, "target_gradient": None}
    TrialConfig(**{**VALID, "variant": variant, **without})
    message = refusal(variant=variant, **{**without, field: VALID[field]})
    for part in (field, repr(variant), repr(VALID[field]), "al, real"):
        assert part in message


@pytest.mark.parametrize("variant", [v.name for v in VARIANTS.values() if v.augmented_loss])
@pytest.mark.parametrize("field", ["gamma", "tau", "target_gradient"])
def test_a_variant_with_the_augmented_loss_needs_its_parameters(variant: str, field: str) -> None:
    message = refusal(variant=variant, **{field: None})
    for part in (field, repr(variant), "None"):
        assert part in message


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no field dropout; its fields are variant, .*drop_prob"):
        TrialConfig.from_dict({**VALID, "dropout": 0.3})


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(TrialConfig) if f.default is dataclasses.MISSING])
def test_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"needs {field}, got only"):
        TrialConfig.from_dict({name: value for name, value in VALID.items() if name != field})


@given(
    drop_prob=st.floats(0, 1, exclude_max=True),
    lr=st.floats(1e-3, 10),
    seed=st.integers(0, 2**40),
    second=st.none() | st.integers(2, 60),
)
def test_round_trip_through_plain_values(drop_prob: float, lr: float, seed: int, second: int | None) -> None:
    config = TrialConfig(**{**VALID, "drop_prob": drop_prob, "lr": lr, "seed": seed, "second_session_epoch": second})
    values = config.to_dict()
    assert all(value is None or isinstance(value, bool | int | float | str) for value in values.values())
    assert TrialConfig.from_dict(values) == config


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"cell": "gru"}, "cell must be one of lstm, got 'gru'"),
        ({"dropout": "none"}, "dropout must be one of variational, got 'none'"),
    ],
)
def test_a_variant_of_an_unknown_part_is_refused(
    part: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.VARIANTS, "re", dataclasses.replace(VARIANTS["re"], **part))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        paper_config("re", "small", "ptb")


def test_the_papers_models_have_the_default_parts() -> None:
    assert {(v.cell, v.dropout) for v in VARIANTS.values()} == {("lstm", "variational")}


@pytest.mark.parametrize(("epoch", "lr"), [(1, 1.0), (5, 1.0), (6, 0.9), (7, 0.9**2), (49, 0.9**44), (50, 0.9**45)])
def test_learning_rate_of_one_session(epoch: int, lr: float) -> None:
    """Appendix A, small: full rate up to epoch 5, then 0.9 per epoch."""
    assert TrialConfig(**VALID).lr_at(epoch) == pytest.approx(lr, rel=1e-12)


def test_learning_rate_of_a_second_session() -> None:
    """Footnote 4: from that epoch on, the schedule is the one of epoch 1 on."""
    one = TrialConfig(**VALID)
    two = TrialConfig(**{**VALID, "second_session_epoch": 31})
    assert [two.lr_at(e) for e in range(1, 31)] == [one.lr_at(e) for e in range(1, 31)]
    assert [two.lr_at(e) for e in range(31, 51)] == [one.lr_at(e) for e in range(1, 21)]
    assert two.lr_at(30) < two.lr_at(31) == one.lr


def test_alpha_is_derived() -> None:
    """Appendix A: alpha = gamma tau; it is no field, so it cannot disagree."""
    assert TrialConfig(**{**VALID, "gamma": 0.5, "tau": 30.0}).alpha == pytest.approx(15.0)
    assert paper_config("re", "small", "ptb").alpha is None
    assert "alpha" not in {f.name for f in dataclasses.fields(TrialConfig)}


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_papers_recipe_of_every_setting(variant: str, size: str, corpus: str) -> None:
    config, recipe = paper_config(variant, size, corpus, seed=11, max_epochs=9), SIZES[size]
    assert (config.seed, config.max_epochs) == (11, 9)
    assert (config.hidden_size, config.vocab_size) == (recipe.hidden_size, CORPORA[corpus].vocab_size)
    assert config.drop_prob == pytest.approx(1 - CORPORA[corpus].keep_prob[size])
    assert config.input_dropout is False
    assert [config.lr_at(e) for e in (1, recipe.lr_decay_start_epoch + 2)] == pytest.approx(
        [recipe.lr, recipe.lr * recipe.lr_decay**2]
    )
    assert config.second_session_epoch is None
    if VARIANTS[variant].augmented_loss:
        assert (config.tau, config.gamma, config.target_gradient) == (20.0, CORPORA[corpus].gamma, "flow")
    else:
        assert (config.tau, config.gamma, config.target_gradient) == (None, None, None)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("reel", "small", "ptb"), "variant must be one of baseline, al, re, real, got 'reel'"),
        (("real", "huge", "ptb"), "size must be one of tiny, small, medium, large, got 'huge'"),
        (("real", "small", "ptp"), "corpus must be one of ptb, .*, got 'ptp'"),
    ],
)
def test_the_papers_recipe_refuses_unknown_names(setting: tuple[str, str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paper_config(*setting)
