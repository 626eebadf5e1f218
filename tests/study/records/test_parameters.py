"""A searched parameter is declared once: space, schema, ledger, frame and axis derive from the declaration."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from study.records.parameters import PARAMETERS
from study.records.records import Setting
from study.records.schemas import TRIALS
from trainables.config import TrialConfig

ADDED = """
import dataclasses, sys
from trainables import config

@dataclasses.dataclass(frozen=True, kw_only=True)
class Wider(config.TrialConfig):
    num_heads: int = 4

config.TrialConfig = Wider
from study.records import parameters

parameters.PARAMETERS["num_heads"] = parameters.Parameter(
    name="num_heads", label="attention heads", scale="integer", domain=(1, 8), special={"tiny": (1, 4)},
    is_in=lambda variant: variant.tie_weights,
)
# No module imported below names the parameter.
from pathlib import Path
import pyarrow as pa
from matplotlib.figure import Figure
from analysis.figures import axes
from analysis.parameters import searched
from analysis.records.load import load_results
from study.records.records import Setting
from study.records.schemas import TRIALS
from study.search.ledger import Ledger, TrialRecord
from study.search.optuna_study import OptunaStudy
from study.spec.spaces import search_space
from study.spec.spec import StudySpec

storage, setting = sys.argv[1], Setting("toy", "tiny", "re")
assert TRIALS.field("num_heads").type == pa.int32()
assert (search_space(setting)["num_heads"].low, search_space(setting)["num_heads"].high) == (1, 4)
assert search_space(setting._replace(size="small"))["num_heads"].high == 8
assert "num_heads" not in search_space(setting._replace(variant="baseline"))

spec = StudySpec(setting=setting, num_samples=9, max_epochs=6)
ledger = Ledger(spec, storage)
optuna, drawn = OptunaStudy(ledger, Path(storage) / "study.journal"), {}
for trial_id in ("default-0000", "random-0001", "random-0002", "random-0003", "random-0004"):
    block = trial_id.split("-")[0]
    config = spec.config(optuna.propose(block, trial_id)[0], seed=1)
    trial = TrialRecord(trial_id=trial_id, block=block, config=config)
    ledger.start(trial)
    drawn[trial_id] = config.num_heads
assert drawn["default-0000"] == 4 and len(set(drawn.values())) > 1
again = Ledger(spec, storage)
assert {trial_id: trial.config.num_heads for trial_id, trial in again.trials.items()} == drawn

trials = load_results([storage]).trials
assert dict(zip(trials["trial_id"], trials["num_heads"])) == drawn
assert "num_heads" in searched(trials)
ax = Figure().subplots()
axes.set_axis(ax, "num_heads", 1, 4)
assert axes.label("num_heads") == "attention heads"
"""


def test_a_new_parameter_is_searched_recorded_and_shown(tmp_path: Path) -> None:
    """One declaration, in a process that has imported nothing before: space, schema, ledger, frame and axis follow."""
    ran = subprocess.run([sys.executable, "-c", ADDED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_every_parameter_is_a_field_of_a_trials_configuration() -> None:
    assert set(PARAMETERS) <= {field.name for field in dataclasses.fields(TrialConfig)}


def test_the_whole_configuration_is_recorded() -> None:
    fields = {field.name for field in dataclasses.fields(TrialConfig)}
    assert fields - {*Setting._fields} <= {*TRIALS.names}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "cubic"}, "scale must be one of linear, log, integer, categorical, got 'cubic'"),
        ({"domain": (3.0, 0.3)}, r"the domain of lr must be \(lowest, highest\), got \(3.0, 0.3\)"),
        ({"special": {"tiny": (1.0,)}}, r"the domain of lr must be \(lowest, highest\), got \(1.0,\)"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PARAMETERS["lr"], **changes)
