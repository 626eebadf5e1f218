"""A trial's two random streams, and whether a state belongs to a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from trainables.config import TrialConfig


def make_generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """The CPU generators of the weights and of the masks; the global one is left alone."""
    weight_seed, mask_seed = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    return (
        torch.Generator().manual_seed(int(weight_seed >> np.uint64(1))),
        torch.Generator().manual_seed(int(mask_seed >> np.uint64(1))),
    )


def check_same_trial(config: TrialConfig, state: Mapping[str, Any]) -> None:
    """Whether a state was taken from this trial.

    Raises:
        ValueError: if it was not. A longer ``max_epochs`` is the same trial.
    """
    theirs, ours = dict(state["config"]), config.to_dict()
    differing = [f for f in ours if f != "max_epochs" and theirs.get(f) != ours[f]]
    if differing:
        details = ", ".join(f"{f} is {theirs.get(f)!r} there and {ours[f]!r} here" for f in differing)
        raise ValueError(f"the state must be of this trial's config, but {details}")
