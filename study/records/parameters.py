"""The parameters that a study searches: a parameter, or a range of one, is declared here and nowhere else.

The search spaces (``study.spec.spaces``), the columns of the ``trials`` table (``study.records.schemas``), the ledger's
rows, and the scales, axes and labels of the analysis derive from these declarations.

Every range covers both readings of the paper's dropout numbers (keep or drop) and contains the paper's recipe, which
a study runs as its first trial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from trainables.recipes import TARGET_GRADIENTS, VARIANTS, Variant

LINEAR, LOG, INTEGER, CATEGORICAL = "linear", "log", "integer", "categorical"
SCALES = (LINEAR, LOG, INTEGER, CATEGORICAL)


def _every_variant(variant: Variant) -> bool:
    return True


def _with_augmented_loss(variant: Variant) -> bool:
    return variant.augmented_loss


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A searched parameter.

    Raises:
        ValueError: on construction, if the scale is unknown, or ``domain`` is not of the form that the scale needs.
    """

    name: str
    """A field of ``TrialConfig`` and a column of the ``trials`` table."""
    label: str
    """Its name on an axis."""
    scale: str
    """``linear`` or ``log`` (real numbers), ``integer``, or ``categorical`` (no order)."""
    domain: tuple[Any, ...]
    """(lowest, highest), both included; of a categorical parameter its options."""
    special: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Size or corpus -> the domain that is searched there instead."""
    is_in: Callable[[Variant], bool] = _every_variant
    """Whether a variant has the parameter."""

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {self.scale!r}")
        for domain in (self.domain, *self.special.values()):
            if self.scale != CATEGORICAL and (len(domain) != 2 or not domain[0] <= domain[1]):
                raise ValueError(f"the domain of {self.name} must be (lowest, highest), got {domain!r}")

    def domain_at(self, size: str, corpus: str) -> tuple[Any, ...]:
        """The domain at a size and on a corpus; the size's own comes before the corpus' own."""
        return self.special.get(size, self.special.get(corpus, self.domain))

    @property
    def column(self) -> pa.Field:
        """Its column of the ``trials`` table, null in a trial without the parameter."""
        if self.scale == CATEGORICAL:
            kind = pa.bool_() if all(isinstance(value, bool) for value in self.domain) else pa.string()
        else:
            kind = pa.int32() if self.scale == INTEGER else pa.float64()
        return pa.field(self.name, kind)


# The learning rate lies within a factor of three of the paper's; the other ranges cover published word-level language
# models of these sizes. The decay's ranges depend on the size: in most draws the learning rate of a full-length trial
# ends between 1e-3 and 1e-1 of its start.
PARAMETERS: Mapping[str, Parameter] = {
    p.name: p
    for p in (
        Parameter(
            name="drop_prob", label="dropout", scale=LINEAR, domain=(0.1, 0.8), special={"tiny": (0.0, 0.9)}
        ),
        Parameter(name="input_dropout", label="input dropout", scale=CATEGORICAL, domain=(False, True)),
        Parameter(name="lr", label="learning rate", scale=LOG, domain=(0.3, 3.0)),
        Parameter(
            name="lr_decay", label="decay per epoch", scale=LINEAR, domain=(0.82, 0.93),
            special={"tiny": (0.4, 0.82), "medium": (0.84, 0.94), "large": (0.95, 0.98)},
        ),
        Parameter(
            name="lr_decay_start_epoch", label="decay after epoch", scale=INTEGER, domain=(1, 15),
            special={"tiny": (1, 8), "large": (1, 40)},
        ),
        Parameter(name="max_grad_norm", label="gradient norm", scale=LOG, domain=(2.0, 15.0)),
        Parameter(name="init_range", label="initial range", scale=LOG, domain=(0.02, 0.15)),
        Parameter(  # the paper: 0.5 to 0.8 on PTB, 1.0 to 1.5 on WikiText-2
            name="gamma", label="gamma", scale=LINEAR, domain=(0.3, 2.0), is_in=_with_augmented_loss
        ),
        Parameter(  # the paper: 20; figure 1b goes from 2 to 40
            name="tau", label="tau", scale=LOG, domain=(2.0, 80.0), is_in=_with_augmented_loss
        ),
        Parameter(
            name="target_gradient", label="target gradient", scale=CATEGORICAL, domain=TARGET_GRADIENTS,
            is_in=_with_augmented_loss,
        ),
    )
}  # fmt: skip
"""Name -> declaration. The order is that in which Optuna draws them: a new one goes to the end."""


def searched_by(variant: str) -> dict[str, Parameter]:
    """The parameters that a study of this variant searches, by name."""
    return {name: parameter for name, parameter in PARAMETERS.items() if parameter.is_in(VARIANTS[variant])}
