"""SubspaceConfig: every setting that decides the numbers of one run of section 6.2's experiment.

The paper gives the text, the network, the loss, the constraint on the word vectors, and no regularisation. It does not
give the optimiser, its rates, the batch, the initial weights, the length of training, whether gradient flows through
the target distribution, and which words |V| counts. Those are fields here; ``recipes.py`` has their defaults and the
reasons.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.config import check_choice, check_integer, check_number, from_plain
from trainables.recipes import BATCH_SIZE, BPTT, CORPORA, FIGURE1, TARGET_GRADIENTS

OPTIMIZERS = ("shampoo", "adam", "sgd")


@dataclass(frozen=True, kw_only=True)
class SubspaceConfig:
    """One run's configuration.

    Raises:
        ValueError: on construction, if a value breaks its rule; the message states the rule and what was given.
    """

    beta: float
    """Proportion of the augmented loss (eq. 6.1), from 0 to 1."""
    tau: float
    """Temperature of the augmented loss."""
    seed: int
    """Picks the excerpt and draws the initial weights."""
    num_epochs: int = FIGURE1.num_epochs
    """The most epochs of a run; the learning rate falls over this length."""
    corpus: str = "ptb"
    """A name in ``recipes.CORPORA``."""
    num_tokens: int = FIGURE1.num_tokens
    """Length of the excerpt."""
    hidden_size: int = FIGURE1.hidden_size
    """Units of each layer and of a word vector."""
    vocabulary: str = FIGURE1.vocabulary
    """``corpus``: all words of the corpus; ``excerpt``: those that occur in the excerpt."""
    target_gradient: str = FIGURE1.target_gradient
    """``flow`` or ``stop``: whether gradient passes through the target distribution of eq. 3.7."""
    optimizer: str = FIGURE1.optimizer
    """``shampoo``, ``adam`` or ``sgd`` (``figure1.optimizer``)."""
    lr: float = FIGURE1.lr
    """Learning rate of the decoder, see ``lr_at``. It acts on a loss summed over the window's steps and averaged over
    the streams."""
    warmup_epochs: int = FIGURE1.warmup_epochs
    """Number of first epochs over which the learning rate rises from update to update."""
    plateau_epochs: int | None = FIGURE1.plateau_epochs
    """See ``ends_after``. None: a run always trains ``num_epochs``."""
    plateau_fall: float = FIGURE1.plateau_fall
    """See ``ends_after``."""
    max_grad_norm: float = FIGURE1.max_grad_norm
    """Global norm at which the gradient is clipped."""
    layer_lr_share: float = FIGURE1.layer_lr_share
    """Learning rate of the layers' weights over that of the decoder."""
    embedding_lr_share: float = FIGURE1.embedding_lr_share
    """Learning rate of the word vectors over that of the decoder while that is ``lr``. The share falls with the
    decoder's rate, so the word vectors' rate falls with its square: the decoder catches up with them in the end."""
    init_range: float | None = FIGURE1.init_range
    """Weights start uniform in [-init_range, init_range]; None: each matrix (n, d) in the range sqrt(6 / (n + d)) of
    Glorot and Bengio (2010). Biases start at zero, word vectors then get norm 1."""
    batch_size: int = BATCH_SIZE
    """Contiguous streams read side by side."""
    bptt: int = BPTT
    """Steps of a window."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("corpus", CORPORA),
            ("vocabulary", ("corpus", "excerpt")),
            ("target_gradient", TARGET_GRADIENTS),
            ("optimizer", OPTIMIZERS),
        ):
            check_choice(name, getattr(self, name), choices)
        lows = {"seed": 0, "num_epochs": 1, "hidden_size": 1, "warmup_epochs": 0, "batch_size": 1, "bptt": 1}
        for name, low in lows.items():
            check_integer(name, getattr(self, name), low=low)
        if self.plateau_epochs is not None:
            check_integer("plateau_epochs", self.plateau_epochs, low=1)
        check_integer("num_tokens", self.num_tokens, low=self.batch_size * (self.bptt + 1))
        for name in ("tau", "lr", "max_grad_norm"):
            check_number(name, getattr(self, name), low=0.0, low_open=True)
        if self.init_range is not None:
            check_number("init_range", self.init_range, low=0.0, low_open=True)
        for name in ("beta", "plateau_fall", "layer_lr_share", "embedding_lr_share"):
            check_number(name, getattr(self, name), low=0.0, high=1.0)

    @property
    def num_windows(self) -> int:
        """Updates of an epoch."""
        return (self.num_tokens // self.batch_size - 1) // self.bptt

    def lr_at(self, epoch: int, window: int) -> float:
        """Learning rate of the decoder's update after a window; epochs e and windows are counted from 1.

        lr min(1, u / (warmup_epochs num_windows)) (1 - (e - 1) / num_epochs), with u = (e - 1) num_windows + window
        the updates so far, this one among them.
        """
        update = (epoch - 1) * self.num_windows + window
        rise = min(1.0, update / max(1, self.warmup_epochs * self.num_windows))
        return self.lr * rise * (self.num_epochs + 1 - epoch) / self.num_epochs

    def ends_after(self, distances: Sequence[float]) -> bool:
        """Whether a run ends here: at ``num_epochs``, or when the distance no longer falls.

        It no longer falls when its mean over the last ``plateau_epochs`` epochs is not below (1 - ``plateau_fall``)
        times its mean over as many epochs before them. Warm-up epochs count in neither mean, so this can first end a
        run at epoch ``warmup_epochs`` + 2 ``plateau_epochs``.

        Args:
            distances: appendix B's distance after each epoch so far.
        """
        if len(distances) >= self.num_epochs:
            return True
        n, warm = self.plateau_epochs, distances[self.warmup_epochs :]
        if n is None or len(warm) < 2 * n:
            return False
        return math.fsum(warm[-n:]) >= (1 - self.plateau_fall) * math.fsum(warm[-2 * n : -n])

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values; ``from_dict`` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SubspaceConfig:
        """Builds a config from plain values.

        Raises:
            ValueError: on an unknown, a missing or a refused field.
        """
        return from_plain(cls, values, what="a run of figure 1")
