"""Cost of epochs and trials by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.figures.cost import Cost, CostInfo, costs, draw_cost
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import write_trial

SETTING = Setting("ptb", "small", "al")


def read(path: Path) -> CostInfo:
    return costs(load_results([str(path)]))


def test_seconds_of_every_trial_with_an_epoch(tmp_path: Path) -> None:
    storage = str(tmp_path)
    write_trial(storage, SETTING, "s", "random-0001", [9.0, 8.0], device_s=100.0)
    write_trial(storage, SETTING, "s", "random-0002", [], status="failed", device_s=0.0)
    write_trial(storage, SETTING, "s", "tpe-0003", [9.0], status="pruned", device_s=60.0)
    write_trial(storage, SETTING, "s", "confirm-paper-s101", [9.0], origin="paper", device_s=40.0)
    assert read(tmp_path) == CostInfo(
        studies=(
            Cost(
                setting=SETTING,
                study="s",
                trial_ids=("confirm-paper-s101", "random-0001", "tpe-0003"),
                statuses=("complete", "complete", "pruned"),
                epoch_s=(40.0, 50.0, 60.0),
                device_s=(40.0, 100.0, 60.0),
                num_without=1,
            ),
        )
    )


@pytest.mark.parametrize(
    ("seconds", "unit", "shown"), [(90.0, "seconds", "90"), (150.0, "minutes", "2.5"), (9000.0, "hours", "2.5")]
)
def test_the_unit_fits_the_trials(seconds: float, unit: str, shown: str, tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "random-0001", [9.0] * 3, device_s=seconds)
    per_epoch, per_trial = draw_cost(read(tmp_path)).axes
    assert per_trial.get_xlabel() == f"device-{unit} per trial"
    assert shown in [text.get_text() for text in per_trial.texts]
    assert f"{seconds / 3:.3g}" in [text.get_text() for text in per_epoch.texts]


def test_nothing_without_an_epoch(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "random-0001", [], status="interrupted")
    assert read(tmp_path).is_empty
