"""The slices of a search: the info object and the picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from analysis.figures.slices import SearchTrials, SearchTrialsInfo, draw_slices, perplexity_range, slices
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import write_trial

SETTING = Setting("ptb", "small", "real")


@pytest.fixture
def info(tmp_path: Path) -> SearchTrialsInfo:
    """Three complete trials, one that diverged and one that ASHA stopped, which differ in three parameters."""
    for trial_id, drop_prob, tau, gradient, ppls, status in (
        ("default-0000", 0.3, 20.0, "flow", [90.0, 80.0], "complete"),
        ("random-0001", 0.1, 40.0, "stop", [100.0], "complete"),
        ("random-0002", 0.5, 10.0, "flow", [120.0], "complete"),
        ("random-0003", 0.7, 5.0, "flow", [70.0, math.nan], "failed"),
        ("tpe-0004", 0.2, 15.0, "stop", [85.0], "pruned"),
    ):
        more = {"drop_prob": drop_prob, "tau": tau, "target_gradient": gradient, "status": status}
        write_trial(str(tmp_path), SETTING, "s", trial_id, ppls, **more)
    write_trial(str(tmp_path), SETTING, "s", "confirm-paper-s101", [10.0], origin="paper", drop_prob=0.8)
    return slices(load_results([str(tmp_path)]))


def test_what_the_search_varied(info: SearchTrialsInfo) -> None:
    expected = SearchTrials(
        setting=SETTING,
        study="s",
        trial_ids=("default-0000", "random-0001", "random-0002", "random-0003", "tpe-0004"),
        statuses=("complete", "complete", "complete", "failed", "pruned"),
        ppl=(80.0, 100.0, 120.0, None, None),
        points=(
            ("drop_prob", (0.3, 0.1, 0.5, 0.7, 0.2)),
            ("tau", (20.0, 40.0, 10.0, 5.0, 15.0)),
            ("target_gradient", (0.0, 1.0, 0.0, 0.0, 1.0)),
        ),
    )
    assert info == SearchTrialsInfo(studies=(expected,))
    assert expected.best == 80.0
    assert np.isnan(expected.column("lr")).all()
    assert perplexity_range([expected]) == (80.0, pytest.approx(116.0))  # nine tenths of the way along the three


def test_nothing_to_draw_without_a_complete_trial_or_a_difference(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [80.0], status="pruned", tau=3.0)
    write_trial(str(tmp_path), SETTING, "s", "tpe-0002", [80.0], status="failed")
    assert slices(load_results([str(tmp_path)])).is_empty
    write_trial(str(tmp_path), SETTING._replace(size="large"), "t", "tpe-0001", [80.0])
    assert slices(load_results([str(tmp_path)])).is_empty


def test_a_slice_joins_the_lowest_of_each_fifth(info: SearchTrialsInfo) -> None:
    axes = draw_slices(info).axes
    assert [ax.get_xlabel() for ax in axes] == ["dropout", "tau", "target gradient"]
    points, failed, lowest = axes[0].lines
    assert [x for x, y in zip(*points.get_data(), strict=True) if np.isfinite(y)] == [0.3, 0.1, 0.5]
    assert list(failed.get_xdata()) == [0.7]
    assert list(zip(*lowest.get_data(), strict=True)) == [(0.1, 100.0), (0.3, 80.0), (0.5, 120.0)]
    # Of the two options, the best trial of each that is complete.
    assert list(zip(*axes[2].lines[2].get_data(), strict=True)) == [(0.0, 80.0), (1.0, 100.0)]
    assert axes[1].get_xscale() == "log"
    assert [text.get_text() for text in axes[0].texts] == ["3 complete trials; 1 failed; 1 stopped by ASHA"]
