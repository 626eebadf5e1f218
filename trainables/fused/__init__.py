"""The training step with its gradients written out, for the models that it equals."""

from __future__ import annotations

from trainables.config import TrialConfig
from trainables.models.base import LanguageModel
from trainables.models.cells.lstm import LSTM


def supports(config: TrialConfig) -> bool:
    """Whether the fused step trains this trial's model: the paper's LSTM under its variational dropout.

    A trial of any other parts is trained by autograd (``trial.plain_step``), by itself and in fp32.
    """
    return (config.cell, config.dropout) == ("lstm", "variational")


def reads(model: LanguageModel) -> bool:
    """Whether the fused layers compute this model's hidden states without dropout, as in evaluation."""
    return all(type(layer) is LSTM for layer in model.layers)
