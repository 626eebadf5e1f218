"""The map of tau and gamma by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.collections import PathCollection

from analysis.figures.tau_gamma import MapPoint, TauGammaInfo, TauGammaMap, draw_tau_gamma, tau_gamma
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import write_trial

SETTING = Setting("ptb", "small", "real")


def read(path: Path) -> TauGammaInfo:
    return tau_gamma(load_results([str(path)]))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """The best at tau 20 and gamma 0.5, one within 1.0 ppl of it, one without, one stopped, one diverged."""
    for trial_id, tau, gamma, ppls, status in (
        ("default-0000", 20.0, 0.5, [90.0, 80.0], "complete"),
        ("random-0001", 40.0, 1.5, [80.9], "complete"),
        ("random-0002", 2.0, 1.0, [95.0], "complete"),
        ("tpe-0003", 10.0, 0.7, [79.0], "pruned"),
        ("random-0004", 3.0, 0.6, [70.0, math.nan], "failed"),
    ):
        more = {"stopped_by": "non_finite_loss"} if status == "failed" else {}
        write_trial(str(tmp_path), SETTING, "s", trial_id, ppls, status=status, tau=tau, gamma=gamma, **more)
    write_trial(str(tmp_path), SETTING._replace(variant="re"), "re", "random-0001", [50.0])
    return tmp_path


def test_every_trial_of_the_augmented_variants(storage: Path) -> None:
    rows = [
        ("default-0000", "default", "complete", 20.0, 0.5, 80.0, True),
        ("random-0001", "random", "complete", 40.0, 1.5, 80.9, True),
        ("random-0002", "random", "complete", 2.0, 1.0, 95.0, False),
        ("random-0004", "random", "failed", 3.0, 0.6, None, False),
        ("tpe-0003", "tpe", "pruned", 10.0, 0.7, 79.0, False),
    ]
    names = ("trial_id", "block", "status", "tau", "gamma", "ppl", "within")
    points = tuple(MapPoint(**dict(zip(names, row, strict=True))) for row in rows)
    (found,) = read(storage).studies
    assert found == TauGammaMap(
        setting=SETTING, study="s", points=points, best_ppl=80.0, share_area=found.share_area
    )  # fmt: skip
    assert found.share_area is not None
    assert 0.3 < found.share_area < 0.7  # the upper end of tau belongs to the two


def test_the_picture_colours_complete_trials_and_rings_the_plateau(storage: Path) -> None:
    ax = draw_tau_gamma(read(storage)).axes[0]
    coloured = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert sorted(float(v) for c in coloured for v in c.get_array()) == [80.0, 80.9, 95.0]
    rings = [line for line in ax.lines if line.get_markersize() == 9]
    assert list(rings[0].get_xdata()) == [20.0, 40.0]
    (note,) = [text.get_text() for text in ax.texts]
    assert note.startswith("3 complete trials; 1 pruned; 1 failed\n2 within 1 of 80.0: tau 20 to 40, gamma 0.5 to 1.5;")
    assert ax.get_xscale() == "log"


def test_empty_until_a_trial_is_complete(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [50.0], status="pruned")
    found = read(tmp_path)
    assert found.is_empty
    assert len(found.studies[0].points) == 1
