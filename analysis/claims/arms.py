"""The arms of comparisons: a configuration's perplexities by seed, their trials, and why they may not be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.measures.settings import confirmed_trials, ppl_by_seed, shortfall, tuned_origin
from analysis.records.load import Results
from analysis.records.names import place_name, variant_label
from analysis.records.sources import TrialKey, keys_of
from analysis.records.studies import SettingStudy, second_session_of, study_of
from analysis.records.trials import best_of_search, diverged
from study.records.records import Setting
from study.records.trials import PAPER_ORIGIN
from trainables.recipes import COMPARED, SIZES

NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm of a comparison."""

    place: str
    """Corpus and size, as people call them: ``PTB small``."""
    label: str
    """Usually the variant."""
    values: Mapping[int, float] = field(default_factory=dict)
    """Seed -> perplexity, or another positive measure that is better when lower."""
    lacks: str = ""
    """Why its values must not be judged; empty if they may."""
    command: str = ""
    """Command that runs the missing trials, without its number of seeds."""
    trials: tuple[TrialKey, ...] = ()
    """The trials behind the values."""
    made_with: Mapping[str, str | None] = field(default_factory=dict)
    """Properties that arms of one place must share: precision, epochs, corpus, trials of the search."""


@dataclass
class Arms:
    """The arms that the records hold, each made once."""

    results: Results
    _known: dict[tuple[str, Setting], Any] = field(default_factory=dict)

    def study(self, setting: Setting) -> SettingStudy | None:
        """The study that stands for a setting."""
        return self._once("study", setting, lambda: study_of(self.results, setting))

    def recipe(self, setting: Setting) -> Arm:
        """Test perplexity of the paper's recipe on fresh seeds, at full length."""
        return self._once("recipe", setting, lambda: self._recipe(setting))

    def tuned(self, setting: Setting) -> Arm:
        """Test perplexity of the best configuration of a finished search on fresh seeds, at full length."""
        return self._once("tuned", setting, lambda: self._tuned(setting))

    def second_session(self, setting: Setting) -> Arm:
        """Test perplexity of the paper's recipe trained for footnote 4's second session, at full length."""
        return self._once("second session", setting, lambda: self._second_session(setting))

    def _recipe(self, setting: Setting) -> Arm:
        arm, study = self._start(setting), self.study(setting)
        if study is None:
            return arm
        return _confirmed(self._made(arm, study), study, PAPER_ORIGIN)

    def _tuned(self, setting: Setting) -> Arm:
        arm, study = self._start(setting), self.study(setting)
        if study is None:
            return arm
        ended = int((study.search["status"] != "interrupted").sum())
        arm = self._made(arm, study)
        if (budget := study.num_samples) is None:
            return replace(arm, lacks="no record of the search's budget")
        if not study.has_search:
            return replace(arm, lacks="the paper's recipe alone, no search")
        if ended < budget:
            return replace(arm, lacks=f"{ended} of {budget} trials of the search have ended")
        arm = replace(arm, made_with={**arm.made_with, "trials of the search": str(ended)})
        origin = tuned_origin(study)
        if origin is None:
            return replace(arm, lacks="the tuned configuration is not confirmed")
        arm = _confirmed(arm, study, origin)
        best = _best_of_search(study)
        if study.select.empty and origin != best and not arm.lacks:  # recorded before there was a select block
            arm = replace(arm, lacks=f"the best of the search, {best}, is not confirmed")
        return arm

    def _second_session(self, setting: Setting) -> Arm:
        arm, study = self._start(setting), second_session_of(self.results, setting)
        arm = replace(arm, label=f"second session of {arm.label}", command="python -m study.reproduce footnote4")
        if study is None:
            return arm
        arm = _confirmed(self._made(arm, study, epochs=False), study, PAPER_ORIGIN, full_length=False)
        done, full = confirmed_trials(study, PAPER_ORIGIN), SIZES[setting.size].max_epochs
        if not arm.lacks and ((done["max_epochs"] < 2 * full) | (done["second_session_epoch"] != full + 1)).any():
            lengths = f"{done['second_session_epoch'].min() - 1:.0f} of {done['max_epochs'].min():.0f} epochs"
            arm = replace(arm, lacks=f"the first session has {lengths}, in full it has {full} of {2 * full}")
        return arm

    def _start(self, setting: Setting) -> Arm:
        target = "table2" if setting.corpus in COMPARED["table2"][0] else "table1"
        where = "" if target == "table2" else f" --size {setting.size} --corpus {setting.corpus}"
        return Arm(
            place=place_name(setting.corpus, setting.size),
            label=variant_label(setting.variant),
            lacks=NOT_RUN,
            command=f"python -m study.reproduce {target}{where}",
        )

    def _made(self, arm: Arm, study: SettingStudy, *, epochs: bool = True) -> Arm:
        runs = self.results.runs
        sums = sorted(set(runs.loc[runs["study"] == study.study, "corpus_sha256"].dropna()))
        made_with: dict[str, str | None] = {"precision": study.precision, "corpus": " ".join(sums) or None}
        if epochs:
            made_with["epochs"] = None if study.max_epochs is None else str(study.max_epochs)
        return replace(arm, lacks="", made_with=made_with)

    def _once(self, kind: str, setting: Setting, make: Callable[[], Any]) -> Any:
        if (kind, setting) not in self._known:
            self._known[kind, setting] = make()
        return self._known[kind, setting]


def _confirmed(arm: Arm, study: SettingStudy, origin: str, *, full_length: bool = True) -> Arm:
    done = confirmed_trials(study, origin)
    values = ppl_by_seed(study, origin, "test")
    used = done[done["seed"].isin(list(values))]
    lacks = [] if values else ["no trial on fresh seeds has ended"]
    own = study.confirm[study.confirm["origin"] == origin]
    if num_diverged := int(diverged(own).sum()):  # a mean over the seeds that survived would flatter
        lacks.append(f"{num_diverged} of {len(own)} seeds diverged")
    if full_length:
        lacks += shortfall(study, used if values else study.trials)
    return replace(arm, values=values, lacks=", ".join(lacks), trials=keys_of(used))


def _best_of_search(study: SettingStudy) -> str | None:
    """The complete trial of lowest validation perplexity; ``paper`` if it is the recipe's own."""
    best = best_of_search(study.search)
    if best.empty:
        return None
    return PAPER_ORIGIN if best["block"].iloc[0] == "default" else str(best["trial_id"].iloc[0])
