"""The training step with its gradients written out, for the models that it supports."""

from __future__ import annotations

from trainables.config import TrialConfig
from trainables.models.base import LanguageModel
from trainables.models.cells.lstm import LSTM
from trainables.models.inputs import WordLookup
from trainables.models.outputs import Softmax


def supports(config: TrialConfig) -> bool:
    """Whether the fused step trains this trial's model: the paper's LSTM under its variational dropout.

    A trial of other parts is trained by autograd (``trial.plain_step``), outside packs and in fp32.
    """
    return (config.cell, config.dropout) == ("lstm", "variational")


def supports_evaluation(model: LanguageModel) -> bool:
    """Whether the fused layers can evaluate this model."""
    parts = type(model.inputs), *map(type, model.layers), type(model.outputs)
    return parts == (WordLookup, *[LSTM] * len(model.layers), Softmax)
