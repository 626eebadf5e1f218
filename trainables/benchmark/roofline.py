"""Floating-point operations that a training step needs, and how many a second this machine's matrix products reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from trainables.config import TrialConfig
from trainables.fused.matmul import operand, product
from trainables.recipes import NUM_LAYERS

PASSES = 3
"""A product y = W x costs the same three times: itself, and the gradients with respect to W and to x."""
SQUARE = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices whose product sets the roofline, by device: large enough to be bound by arithmetic."""


@dataclass(frozen=True)
class StepFlops:
    """Floating-point operations of one training step of one trial; a multiplication and its addition are two."""

    lstm: float
    softmax: float
    augmented: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.lstm + self.softmax + self.augmented


def step_flops(config: TrialConfig, num_distinct: float) -> StepFlops:
    """What the matrix products of a step need; everything else is of lower order.

    With N = T B tokens, H units, L layers, V words and U distinct targets, in multiply-adds per pass:

    * LSTM: N L 8 H^2, four gates that read H inputs and H states; three passes;
    * softmax: N H V; three passes;
    * augmented term: U H V for y-tilde, which depends on the target word alone, so once for each distinct one
      (``scores.py``): one pass if its gradient is stopped, three if it flows.

    The products are counted dense: a head that leaves out dropped units does with fewer, and a rival that computes
    y-tilde for every token does more than is counted.

    Args:
        config: the trial.
        num_distinct: U, a mean over the windows; read with the augmented loss only.
    """
    n, h, v = config.batch_size * config.bptt, config.hidden_size, config.vocab_size
    passes = 0
    if config.augmented_loss:
        passes = PASSES if config.target_gradient == "flow" else 1
    return StepFlops(
        lstm=2.0 * PASSES * n * NUM_LAYERS * 8 * h * h,
        softmax=2.0 * PASSES * n * h * v,
        augmented=2.0 * passes * num_distinct * h * v,
    )


def make_matmul(device: torch.device) -> tuple[Callable[[], None], float]:
    """A product of two large square matrices in the precision that holds when it is called, and its operations."""
    n = SQUARE[device.type]
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(n, n, generator=generator).to(device) for _ in range(2))
    rounded = operand(a), operand(b)

    def run() -> None:
        product(*rounded)

    return run, 2.0 * n**3
