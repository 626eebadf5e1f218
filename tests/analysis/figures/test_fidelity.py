"""Fidelity by epoch by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.figures.fidelity import Fidelity, FidelityInfo, draw_fidelity, fidelities
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import write_run, write_trial

SETTING = Setting("ptb", "small", "al")


def read(path: Path) -> FidelityInfo:
    return fidelities(load_results([str(path)]))


def test_the_order_turns_round_at_the_second_epoch(tmp_path: Path) -> None:
    storage = str(tmp_path)
    write_run(storage, SETTING, "s", grace_period=1, reduction_factor=3, max_epochs=2)
    for trial_id, ppls in (("default-0000", [3.0, 1.0]), ("random-0001", [2.0, 1.5]), ("random-0002", [1.8, 1.7])):
        write_trial(storage, SETTING, "s", trial_id, ppls)
    write_trial(storage, SETTING, "s", "tpe-0003", [0.1, 0.1])  # a survivor
    assert read(tmp_path) == FidelityInfo(
        studies=(
            Fidelity(
                setting=SETTING,
                study="s",
                trial_ids=("default-0000", "random-0001", "random-0002"),
                epochs=(1, 2),
                spearman=pytest.approx((-1.0, 1.0)),
                regret_ppl=pytest.approx((0.7, 0.0)),
                rungs=(1,),
            ),
        )
    )


def test_two_trials_have_a_regret_and_no_correlation(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "random-0001", [2.0, 1.5])
    assert read(tmp_path).is_empty
    write_trial(str(tmp_path), SETTING, "s", "random-0002", [3.0, 1.0])
    info = read(tmp_path)
    assert info.studies[0].spearman == (None, None)
    left, right = draw_fidelity(info).axes
    assert "too few trials, or all tied" in [text.get_text() for text in left.texts]
    assert list(right.lines[0].get_ydata()) == [0.5, 0.0]
