"""The trials of the golden losses. Every setting is given here, independent of the recipe."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from trainables.config import TrialConfig
from trainables.trial.training import Training

GOLDEN_FILE = Path(__file__).with_name("losses.json")
MEASURES = ("train_loss", "train_total_loss", "grad_norm")
NUM_EPOCHS = 3

_PLAIN = TrialConfig(
    variant="baseline", size="tiny", corpus="toy", seed=7, max_epochs=NUM_EPOCHS, drop_prob=0.3, input_dropout=False,
    lr=1.0, lr_decay=0.5, lr_decay_start_epoch=1, max_grad_norm=5.0, init_range=0.1, batch_size=5, bptt=11,
)  # fmt: skip
_AUGMENTED = {"gamma": 0.65, "tau": 20.0, "target_gradient": "flow"}

TRIALS = {
    "baseline": _PLAIN,
    "re": dataclasses.replace(_PLAIN, variant="re"),
    "al": dataclasses.replace(_PLAIN, variant="al", **_AUGMENTED),
    "al-stop": dataclasses.replace(_PLAIN, variant="al", **_AUGMENTED | {"target_gradient": "stop"}),
    "real": dataclasses.replace(_PLAIN, variant="real", **_AUGMENTED),
    "real-stop": dataclasses.replace(_PLAIN, variant="real", **_AUGMENTED | {"target_gradient": "stop"}),
    "real-high-drop": dataclasses.replace(
        _PLAIN, variant="real", drop_prob=0.7, input_dropout=True, **_AUGMENTED | {"tau": 2.0}
    ),
    "re-second-session": dataclasses.replace(_PLAIN, variant="re", second_session_epoch=3),
}


def tokens(num_tokens: int) -> torch.Tensor:
    """A text made by arithmetic: 97 words, some far more frequent than others, with a structure to learn."""
    i = torch.arange(num_tokens)
    return torch.where(i % 3 == 0, i // 3 % 5, (i * 7 + (i // 5) ** 2) % 97)


def run(config: TrialConfig, dtype: torch.dtype) -> list[dict[str, float]]:
    """The measures of each epoch, and the loss on a held-out text."""
    text = tokens(5 * (11 * 6 + 1) + 200)
    training = Training(config, text[:-200], dtype=dtype)
    epochs = []
    for _ in range(NUM_EPOCHS):
        result = dataclasses.asdict(training.train_epoch())
        valid_loss = training.evaluate(text[-200:], eos_id=0, batch_size=3)
        epochs.append({m: result[m] for m in MEASURES} | {"valid_loss": valid_loss})
    return epochs


def write() -> None:
    """Runs every trial in float64 and writes the file."""
    losses = {name: run(config, torch.float64) for name, config in TRIALS.items()}
    GOLDEN_FILE.write_text(json.dumps(losses, indent=1) + "\n")
