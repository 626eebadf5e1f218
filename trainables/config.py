"""TrialConfig: every setting that decides one trial's numbers, validated on construction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trainables.recipes import (
    BATCH_SIZE,
    BPTT,
    CELLS,
    CORPORA,
    DROPOUTS,
    SIZES,
    TARGET_GRADIENT,
    TARGET_GRADIENTS,
    TAU,
    VARIANTS,
)

_Config = TypeVar("_Config")


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One trial's configuration. Counts and sizes are integers, probabilities lie in [0, 1).

    Raises:
        ValueError: on construction, if a value breaks its rule; the message states the rule, what was given and
            what is allowed.
    """

    variant: str
    """A name in ``recipes.VARIANTS``; decides the model's parts, tying and whether the augmented loss is used."""
    size: str
    """A name in ``recipes.SIZES``; decides the hidden size."""
    corpus: str
    """A name in ``recipes.CORPORA``; decides the vocabulary."""
    seed: int
    """Seeds the weights and the dropout masks."""
    max_epochs: int
    """Full length of the trial in epochs."""
    drop_prob: float
    """Probability that a hidden unit is dropped, for a whole window (appendix A)."""
    input_dropout: bool
    """Whether the first layer's input has a mask too, at the same probability."""
    lr: float
    """Learning rate of SGD before decay. It acts on a loss summed over the window's steps."""
    lr_decay: float
    """Factor by which the learning rate shrinks each epoch after ``lr_decay_start_epoch``."""
    lr_decay_start_epoch: int
    """The last epoch (from 1) at the full learning rate."""
    max_grad_norm: float
    """Global norm at which the gradient is clipped."""
    init_range: float
    """Weights start uniform in [-init_range, init_range]; biases at zero."""
    gamma: float | None = None
    """Weight of the augmented loss in units of tau: alpha = gamma * tau. None without the augmented loss."""
    tau: float | None = None
    """Temperature of the augmented loss (eq. 3.1, 3.7). None without the augmented loss."""
    target_gradient: str | None = None
    """``flow`` or ``stop``: whether gradient passes through the target distribution of eq. 3.7."""
    second_session_epoch: int | None = None
    """Footnote 4: the epoch (from 1) at which the learning rate's schedule starts again; the weights are kept. None for
    one session."""
    batch_size: int = BATCH_SIZE
    """Contiguous streams read side by side."""
    bptt: int = BPTT
    """Steps of a window."""

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, VARIANTS)
        check_choice("size", self.size, SIZES)
        check_choice("corpus", self.corpus, CORPORA)
        check_choice("cell", self.cell, CELLS)
        check_choice("dropout", self.dropout, DROPOUTS)
        check_integer("seed", self.seed, low=0)
        check_integer("max_epochs", self.max_epochs, low=1)
        check_number("drop_prob", self.drop_prob, low=0.0, high=1.0, high_open=True)
        if not isinstance(self.input_dropout, bool):
            raise ValueError(f"input_dropout must be true or false, got {self.input_dropout!r}")
        check_number("lr", self.lr, low=0.0, low_open=True)
        check_number("lr_decay", self.lr_decay, low=0.0, low_open=True, high=1.0)
        check_integer("lr_decay_start_epoch", self.lr_decay_start_epoch, low=0)
        check_number("max_grad_norm", self.max_grad_norm, low=0.0, low_open=True)
        check_number("init_range", self.init_range, low=0.0, low_open=True)
        check_integer("batch_size", self.batch_size, low=1)
        check_integer("bptt", self.bptt, low=1)
        if self.second_session_epoch is not None:
            check_integer("second_session_epoch", self.second_session_epoch, low=2)
        given = {"gamma": self.gamma, "tau": self.tau, "target_gradient": self.target_gradient}
        if self.augmented_loss:
            for name, value in given.items():
                if value is None:
                    raise ValueError(f"variant {self.variant!r} uses the augmented loss and needs {name}, got None")
            check_number("gamma", self.gamma, low=0.0)
            check_number("tau", self.tau, low=0.0, low_open=True)
            check_choice("target_gradient", self.target_gradient, TARGET_GRADIENTS)
        else:
            for name, value in given.items():
                if value is not None:
                    allowed = ", ".join(v.name for v in VARIANTS.values() if v.augmented_loss)
                    raise ValueError(
                        f"{name} belongs to the augmented loss: variant {self.variant!r} has none and takes no "
                        f"{name}, got {value!r} (variants that take it: {allowed})"
                    )

    @property
    def tie_weights(self) -> bool:
        """RE: the decoder is the embedding."""
        return VARIANTS[self.variant].tie_weights

    @property
    def augmented_loss(self) -> bool:
        """AL: the loss has the augmented term."""
        return VARIANTS[self.variant].augmented_loss

    @property
    def cell(self) -> str:
        """The recurrent layers, a name in ``recipes.CELLS``."""
        return VARIANTS[self.variant].cell

    @property
    def dropout(self) -> str:
        """The kind of dropout, a name in ``recipes.DROPOUTS``."""
        return VARIANTS[self.variant].dropout

    @property
    def hidden_size(self) -> int:
        """Units of each layer and of a word vector."""
        return SIZES[self.size].hidden_size

    @property
    def vocab_size(self) -> int:
        """Words of the corpus."""
        return CORPORA[self.corpus].vocab_size

    @property
    def alpha(self) -> float | None:
        """Weight of the augmented loss, alpha = gamma * tau (appendix A)."""
        return None if self.gamma is None or self.tau is None else self.gamma * self.tau

    def lr_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 1 (appendix A, footnote 4)."""
        if self.second_session_epoch is not None and epoch >= self.second_session_epoch:
            epoch -= self.second_session_epoch - 1
        return self.lr * self.lr_decay ** max(0, epoch - self.lr_decay_start_epoch)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values; ``from_dict`` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialConfig:
        """Builds a config from plain values.

        Raises:
            ValueError: on an unknown, a missing or a refused field.
        """
        return from_plain(cls, values, what="a trial's config")


def paper_config(variant: str, size: str, corpus: str, *, seed: int = 0, max_epochs: int | None = None) -> TrialConfig:
    """The paper's recipe for one setting (appendix A); ``max_epochs`` defaults to the size's full length.

    Raises:
        ValueError: if a name is not in its registry.
    """
    check_choice("variant", variant, VARIANTS)
    check_choice("size", size, SIZES)
    check_choice("corpus", corpus, CORPORA)
    recipe, augmented = SIZES[size], VARIANTS[variant].augmented_loss
    return TrialConfig(
        variant=variant,
        size=size,
        corpus=corpus,
        seed=seed,
        max_epochs=recipe.max_epochs if max_epochs is None else max_epochs,
        drop_prob=round(1.0 - CORPORA[corpus].keep_prob[size], 6),
        input_dropout=False,
        lr=recipe.lr,
        lr_decay=recipe.lr_decay,
        lr_decay_start_epoch=recipe.lr_decay_start_epoch,
        max_grad_norm=recipe.max_grad_norm,
        init_range=recipe.init_range,
        gamma=CORPORA[corpus].gamma if augmented else None,
        tau=TAU if augmented else None,
        target_gradient=TARGET_GRADIENT if augmented else None,
    )


def from_plain(cls: type[_Config], values: Mapping[str, Any], *, what: str) -> _Config:
    """Builds a configuration, a dataclass, from plain values.

    Args:
        cls: the dataclass.
        values: its fields by name; those with a default may be left out.
        what: the configuration's name in error messages.

    Raises:
        ValueError: on an unknown, a missing or a refused field.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # a dataclass, which no public type says
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"{what} has no field {', '.join(unknown)}; its fields are {', '.join(fields)}")
    required = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
        raise ValueError(f"{what} needs {', '.join(missing)}, got only {', '.join(sorted(values))}")
    return cls(**values)


def check_choice(name: str, value: object, allowed: Any) -> None:
    """Raises ValueError if the value is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def check_integer(name: str, value: object, *, low: int) -> None:
    """Raises ValueError if the value is no whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}")


def check_number(
    name: str,
    value: Any,
    *,
    low: float,
    low_open: bool = False,
    high: float = math.inf,
    high_open: bool = False,
) -> None:
    """Raises ValueError if the value is no finite number in the interval from ``low`` to ``high``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        above = value > low if low_open else value >= low
        below = value < high if high_open else value <= high
        if above and below:
            return
    left, right = "(" if low_open else "[", ")" if high_open or high == math.inf else "]"
    raise ValueError(f"{name} must be a number in {left}{low:g}, {high:g}{right}, got {value!r}")
