"""StudySpec: what one study is, and the budget it is given.

A study of no search trials (``num_samples`` 0) is the paper's recipe alone on fresh seeds. Its name depends on the
recipe, the precision, the length and the seeds alone, so that no later change of search spaces or blocks orphans its
records.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import numpy as np

from study.records.records import Setting
from study.records.trials import NUM_SELECTED, SELECT_SEEDS, num_select_trials
from study.spec.spaces import paper_params, search_space, space_hash, to_config
from trainables.config import TrialConfig, paper_config
from trainables.fused.precision import PRECISIONS
from trainables.recipes import CORPORA, SIZES, VARIANTS

NUM_SEEDS = 6  # the fewest for which the exact sign-flip test can reach p < .05 (2 / 2**6)
REDUCTION_FACTOR = 2  # ASHA keeps the better half at its one rung
AUDIT_SHARE = 0.15  # of the tpe trials, exempt from ASHA
_FIRST_CONFIRM_SEED = 101  # not a seed of select (51, 52) or of the search (above 101,000)


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """One study: a setting and its budget. Its identity (all but the two extendable counts) gives its name.

    Raises:
        ValueError: on construction, if a value breaks its rule.
    """

    setting: Setting
    num_samples: int
    """Trials of the search: the paper's recipe, random draws, then TPE. May grow later, but not from 0: without a
    search, only the paper's recipe is trained, on the seeds of the confirm block."""
    max_epochs: int
    """Full length of a trial, all its sessions together."""
    num_sessions: int = 1
    """2 for footnote 4: the second half of the epochs starts from the weights of the first and repeats its learning
    rates."""
    num_seeds: int = NUM_SEEDS
    """Fresh seeds on which the confirm block trains each of its two configurations. May grow later."""
    search_seed: int = 0
    precision: str = "fp32"
    """Of the matrix products. Another precision is another study, and the two are never compared."""

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("corpus", self.setting.corpus, CORPORA),
            ("size", self.setting.size, SIZES),
            ("variant", self.setting.variant, VARIANTS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        for name, number, low in (
            ("num_samples", self.num_samples, 0),
            ("max_epochs", self.max_epochs, 1),
            ("num_seeds", self.num_seeds, 0),
            ("search_seed", self.search_seed, 0),
        ):
            if not isinstance(number, int) or number < low:
                raise ValueError(f"{name} must be a whole number of at least {low}, got {number!r}")
        if self.num_sessions not in (1, 2):
            raise ValueError(f"num_sessions must be 1 or 2, got {self.num_sessions!r}")
        if self.max_epochs % self.num_sessions:
            raise ValueError(f"max_epochs must be even for two sessions of equal length, got {self.max_epochs}")
        paper_params(self.setting)  # raises if the recipe is not a point of the space

    @property
    def paper(self) -> TrialConfig:
        """The paper's recipe at the length of this study."""
        recipe = paper_config(self.setting.variant, self.setting.size, self.setting.corpus, max_epochs=self.max_epochs)
        return self._in_sessions(recipe)

    @property
    def grace_period(self) -> int:
        """Epochs before ASHA may stop a trial: half of the full length, when most learning rates have begun to decay.

        Ranks at full learning rate say little about ranks after the decay.
        """
        return (self.max_epochs + 1) // 2

    @property
    def rungs(self) -> list[int]:
        """The epochs at which ASHA compares trials."""
        rungs, epoch = [], self.grace_period
        while epoch < self.max_epochs:
            rungs.append(epoch)
            epoch *= REDUCTION_FACTOR
        return rungs

    @property
    def is_recipe_only(self) -> bool:
        """Whether there is no search: the paper's recipe alone, on fresh seeds."""
        return self.num_samples == 0

    @property
    def name(self) -> str:
        """The study's name: the setting and a hash of what makes it this study."""
        kind, identity = ("recipe-", self._recipe_identity) if self.is_recipe_only else ("", self._search_identity)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        suffix = "" if self.precision == "fp32" else f"-{self.precision}"
        return f"{self.setting.variant}-{self.setting.size}-{self.setting.corpus}-{kind}{digest}{suffix}"

    @property
    def _recipe_identity(self) -> dict[str, object]:
        # Fields at their defaults are left out: a field that is added later, with a default that changes nothing, must
        # not rename what is on record.
        defaults = {f.name: f.default for f in dataclasses.fields(TrialConfig)}
        recipe = {name: value for name, value in self.paper.to_dict().items() if value != defaults[name]}
        return {"recipe": recipe, "first_seed": _FIRST_CONFIRM_SEED}

    @property
    def _search_identity(self) -> dict[str, object]:
        return {
            "cell": self.setting._asdict(),  # a setting's former name: another key would rename recorded studies
            "recipe": self.paper.to_dict(),
            "space": space_hash(self.setting),
            "max_epochs": self.max_epochs,
            "search_seed": self.search_seed,
            "asha": [self.grace_period, REDUCTION_FACTOR],
            "select": [NUM_SELECTED, *SELECT_SEEDS],
        }

    @property
    def num_random(self) -> int:
        """Trials of the random block: half of what follows the paper's recipe."""
        return max(0, self.num_samples - 1) // 2

    @property
    def num_tpe(self) -> int:
        """Trials of the tpe block."""
        return max(0, self.num_samples - 1 - self.num_random)

    @property
    def confirm_seeds(self) -> list[int]:
        """The seeds of the confirm block: the same for every variant, so that contrasts are paired over seeds."""
        return list(range(_FIRST_CONFIRM_SEED, _FIRST_CONFIRM_SEED + self.num_seeds))

    def trial_seed(self, trial_id: str) -> int:
        """The seed of a search trial and of its sampler; depends on search seed and trial id alone."""
        text = f"{self.search_seed}/{trial_id}"
        return _FIRST_CONFIRM_SEED * 1000 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 2**31

    def is_audit(self, tpe_index: int) -> bool:
        """Whether the tpe trial of this index (from 0) belongs to the audit arm: a systematic sample of the stated
        share from a random start."""
        start = np.random.default_rng(self.search_seed).random()
        return int((tpe_index + 1) * AUDIT_SHARE + start) > int(tpe_index * AUDIT_SHARE + start)

    def config(self, params: dict[str, object], *, seed: int) -> TrialConfig:
        """A point of the search space as a trial of this study."""
        return self._in_sessions(to_config(self.setting, dict(params), seed=seed, max_epochs=self.max_epochs))

    def _in_sessions(self, config: TrialConfig) -> TrialConfig:
        second = None if self.num_sessions == 1 else self.max_epochs // 2 + 1
        return dataclasses.replace(config, second_session_epoch=second)

    def params(self, config: TrialConfig) -> dict[str, object]:
        """The searched part of a configuration; the inverse of ``config``."""
        return {name: getattr(config, name) for name in search_space(self.setting)}

    @property
    def num_trials(self) -> dict[str, int]:
        """Trials of each block. Those of select and confirm are upper bounds: fewer configurations than
        ``NUM_SELECTED`` may be trained in full, and the paper's recipe may win."""
        num_confirmed = 2 if self.num_samples > 1 else 1
        return {
            "default": min(1, self.num_samples),
            "random": self.num_random,
            "tpe": self.num_tpe,
            "select": num_select_trials(self.num_samples),
            "confirm": num_confirmed * self.num_seeds,
        }

    @property
    def expected_epochs(self) -> dict[str, float]:
        """Epochs of each block, if at each rung a share 1 / reduction_factor of the tpe trials goes on."""
        num_audit = sum(self.is_audit(i) for i in range(self.num_tpe))
        stopped_early, share, last = 0.0, 1.0, 0
        for rung in self.rungs:
            stopped_early += share * (rung - last)
            share, last = share / REDUCTION_FACTOR, rung
        stopped_early += share * (self.max_epochs - last)
        full = {block: float(n * self.max_epochs) for block, n in self.num_trials.items()}
        return full | {"tpe": num_audit * self.max_epochs + (self.num_tpe - num_audit) * stopped_early}
