"""The search space of each setting, in Optuna's terms; a range is one entry here.

Every range covers both readings of the paper's dropout numbers (keep or drop) and contains the paper's recipe, which
a study runs as its first trial. A variant without the augmented loss has no gamma, tau or target gradient.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from study.records.records import Setting
from trainables.config import TrialConfig, paper_config
from trainables.recipes import TARGET_GRADIENTS, VARIANTS

Space = dict[str, BaseDistribution]

# Ranges from recipe to recipe: a factor of three about the paper's learning rate, and for the rest what published
# word-level language models of these sizes have used.
_SHARED: Space = {
    "drop_prob": FloatDistribution(0.1, 0.8),
    "input_dropout": CategoricalDistribution((False, True)),
    "lr": FloatDistribution(0.3, 3.0, log=True),
    "lr_decay": FloatDistribution(0.8, 0.98),
    "lr_decay_start_epoch": IntDistribution(1, 20),
    "max_grad_norm": FloatDistribution(2.0, 15.0, log=True),
    "init_range": FloatDistribution(0.02, 0.15, log=True),
}
_AUGMENTED: Space = {
    "gamma": FloatDistribution(0.3, 2.0),  # the paper: 0.5 to 0.8 on PTB, 1.0 to 1.5 on WikiText-2
    "tau": FloatDistribution(2.0, 80.0, log=True),  # the paper: 20; figure 1b goes from 2 to 40
    "target_gradient": CategoricalDistribution(TARGET_GRADIENTS),
}
# Where a size or a corpus needs another range than the rest: (size or corpus, parameter) -> distribution.
_SPECIAL: dict[tuple[str, str], BaseDistribution] = {
    # A short trial that never decays its learning rate is not the recipe; twelve epochs have no room for twenty.
    ("tiny", "lr_decay_start_epoch"): IntDistribution(1, 10),
    ("tiny", "drop_prob"): FloatDistribution(0.0, 0.9),
}


def search_space(setting: Setting) -> Space:
    """What a study of this setting searches: parameter name -> Optuna distribution."""
    space = dict(_SHARED)
    if VARIANTS[setting.variant].augmented_loss:
        space |= _AUGMENTED
    for (where, name), distribution in _SPECIAL.items():
        if where in (setting.size, setting.corpus) and name in space:
            space[name] = distribution
    return space


def space_hash(setting: Setting) -> str:
    """A fingerprint of the setting's space, to tell records of different spaces apart."""
    text = json.dumps({name: distribution_to_json(d) for name, d in sorted(search_space(setting).items())})
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def paper_params(setting: Setting) -> dict[str, Any]:
    """The paper's recipe as a point of the space.

    Raises:
        ValueError: if the point is outside the space (a mistake in this module or in ``recipes``).
    """
    recipe = paper_config(setting.variant, setting.size, setting.corpus)
    point = {name: getattr(recipe, name) for name in search_space(setting)}
    for name, distribution in search_space(setting).items():
        if not distribution._contains(distribution.to_internal_repr(point[name])):
            raise ValueError(f"the paper's {name} = {point[name]!r} is outside the search space {distribution}")
    return point


def to_config(setting: Setting, params: dict[str, Any], *, seed: int, max_epochs: int) -> TrialConfig:
    """A point of the space as a trial's configuration; what is not searched is the paper's.

    Raises:
        ValueError: if the point has a parameter that the space lacks, or lacks one.
    """
    space = search_space(setting)
    if set(params) != set(space):
        raise ValueError(f"a point of this space has {', '.join(sorted(space))}, got {', '.join(sorted(params))}")
    recipe = paper_config(setting.variant, setting.size, setting.corpus, seed=seed, max_epochs=max_epochs)
    return TrialConfig.from_dict(recipe.to_dict() | params)
