"""The fused step supports the paper's models, and equals the plain step on them."""

from __future__ import annotations

import dataclasses
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables import recipes
from trainables.config import TrialConfig, paper_config
from trainables.fused import supports, supports_evaluation
from trainables.fused.precision import trial_precision
from trainables.fused.single import Step
from trainables.models import build_model
from trainables.pack.pack import Pack
from trainables.recipes import VARIANTS
from trainables.trial.plain_step import PlainStep
from trainables.trial.training import Training

TOKENS = torch.randint(401, (800,), generator=torch.Generator().manual_seed(0))


@st.composite
def configs(draw: st.DrawFn) -> TrialConfig:
    """Trials of any variant, which differ in all that a study searches."""
    paper = paper_config(draw(st.sampled_from(list(VARIANTS))), "tiny", "toy", seed=draw(st.integers(0, 1000)))
    augmented = {
        "gamma": draw(st.floats(0.0, 2.0)),
        "tau": draw(st.floats(0.5, 80.0)),
        "target_gradient": draw(st.sampled_from(["flow", "stop"])),
    }
    return dataclasses.replace(
        paper,
        batch_size=draw(st.integers(1, 5)),
        bptt=draw(st.integers(1, 12)),
        drop_prob=draw(st.sampled_from([0.0, 0.2, 0.5, 0.9])),
        input_dropout=draw(st.booleans()),
        lr=draw(st.floats(0.1, 2.0)),
        lr_decay=draw(st.floats(0.5, 1.0)),
        lr_decay_start_epoch=draw(st.integers(0, 2)),
        max_grad_norm=draw(st.sampled_from([0.1, 5.0, 100.0])),
        init_range=draw(st.floats(0.01, 0.3)),
        second_session_epoch=draw(st.sampled_from([None, 2])),
        **augmented if paper.augmented_loss else {},
    )


@settings(max_examples=25, deadline=None)
@given(config=configs())
def test_a_trial_is_the_same_by_the_fused_step_and_by_autograd(config: TrialConfig) -> None:
    """Losses, norms, weights, random draws and evaluation of two epochs, in float64."""
    tokens = TOKENS[: config.batch_size * (3 * config.bptt + 1)]  # few windows: training magnifies differences
    fused = Training(config, tokens, dtype=torch.float64)
    with mock.patch("trainables.trial.training.supports", return_value=False):
        plain = Training(config, tokens, dtype=torch.float64)
    assert (type(fused._step), type(plain._step)) == (Step, PlainStep)
    for _ in range(2):
        ours, theirs = (dataclasses.asdict(t.train_epoch()) for t in (fused, plain))
        for name in ("train_loss", "train_total_loss", "grad_norm", "num_tokens"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-8), name
    state, other = fused.state_dict(), plain.state_dict()
    assert torch.equal(state["mask_generator"], other["mask_generator"])
    torch.testing.assert_close(state["model"], other["model"], rtol=1e-8, atol=1e-10)
    loss = fused.evaluate(TOKENS[:50], eos_id=0, batch_size=3)
    with mock.patch("trainables.trial.evaluation.supports_evaluation", return_value=False):
        assert plain.evaluate(TOKENS[:50], eos_id=0, batch_size=3) == pytest.approx(loss, rel=1e-8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_papers_models_are_supported(variant: str) -> None:
    config = paper_config(variant, "tiny", "toy")
    assert supports(config)
    assert supports_evaluation(build_model(config, device="meta"))


def test_other_parts_are_trained_alone_and_in_fp32_and_a_pack_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipes.CELLS, "other", recipes.CELLS["lstm"])  # type: ignore[index]
    monkeypatch.setitem(recipes.VARIANTS, "re", dataclasses.replace(VARIANTS["re"], cell="other"))  # type: ignore[arg-type]
    config = paper_config("re", "tiny", "toy")
    assert not supports(config)
    assert isinstance(Training(config, TOKENS)._step, PlainStep)
    assert trial_precision(config, None, "cuda") == trial_precision(config, "fp32", "cpu") == "fp32"
    for precision in ("bf16", "tf32"):
        with pytest.raises(ValueError, match=f"precision must be fp32 for variant 're', got '{precision}': the fused"):
            trial_precision(config, precision, "cuda")
    with pytest.raises(ValueError, match="not support cell 'other' with variational dropout: variant 're'"):
        Pack(config, TOKENS, 2)
