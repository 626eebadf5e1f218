"""The search space of each setting in Optuna's terms, made of the declarations in ``study.records.parameters``."""

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

from study.records.parameters import CATEGORICAL, INTEGER, LOG, Parameter, searched_by
from study.records.records import Setting
from trainables.config import TrialConfig, paper_config

Space = dict[str, BaseDistribution]


def search_space(setting: Setting) -> Space:
    """The search space of a setting: parameter name -> Optuna distribution."""
    return {name: _distribution(parameter, setting) for name, parameter in searched_by(setting.variant).items()}


def _distribution(parameter: Parameter, setting: Setting) -> BaseDistribution:
    domain = parameter.domain_at(setting.size, setting.corpus)
    if parameter.scale == CATEGORICAL:
        return CategoricalDistribution(domain)
    low, high = domain
    if parameter.scale == INTEGER:
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=parameter.scale == LOG)


def space_hash(setting: Setting) -> str:
    """A hash of the setting's space."""
    text = json.dumps({name: distribution_to_json(d) for name, d in sorted(search_space(setting).items())})
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def paper_params(setting: Setting) -> dict[str, Any]:
    """The paper's recipe as a point of the space.

    Raises:
        ValueError: if the point is outside the space (a mistake in ``parameters`` or in ``recipes``).
    """
    recipe = paper_config(setting.variant, setting.size, setting.corpus)
    point = {name: getattr(recipe, name) for name in search_space(setting)}
    for name, distribution in search_space(setting).items():
        if not distribution._contains(distribution.to_internal_repr(point[name])):
            raise ValueError(f"the paper's {name} = {point[name]!r} is outside the search space {distribution}")
    return point


def to_config(setting: Setting, params: dict[str, Any], *, seed: int, max_epochs: int) -> TrialConfig:
    """A point of the space as a trial's configuration; all other fields are the paper's.

    Raises:
        ValueError: if the point has a parameter that the space lacks, or lacks one.
    """
    space = search_space(setting)
    if set(params) != set(space):
        raise ValueError(f"a point of this space has {', '.join(sorted(space))}, got {', '.join(sorted(params))}")
    recipe = paper_config(setting.variant, setting.size, setting.corpus, seed=seed, max_epochs=max_epochs)
    return TrialConfig.from_dict(recipe.to_dict() | params)
