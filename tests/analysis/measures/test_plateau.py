"""The plateau in tau and gamma, by geometry."""

from __future__ import annotations

import pytest

from analysis.measures.plateau import plateau
from study.records.records import Setting
from tests.support.frames import SETTING, only_study
from tests.support.memory import Row, trial


def corners(*ppls: float) -> list[Row]:
    """Random draws in the corners of tau 2 to 32, gamma .5 to 1.5."""
    places = [(2.0, 0.5), (2.0, 1.5), (32.0, 0.5), (32.0, 1.5)]
    return [
        trial(SETTING, f"random-{i:04d}", ppl, tau=tau, gamma=gamma)
        for i, (ppl, (tau, gamma)) in enumerate(zip(ppls, places, strict=True))
    ]


def test_a_quarter_of_the_area_for_each_corner() -> None:
    found = plateau(only_study(corners(80.0, 80.9, 81.1, 95.0)))
    assert found is not None
    assert found.best_ppl == 80.0
    assert found.share_area == pytest.approx(0.5)
    assert found.share_random == 0.5
    assert found.trial_ids == ("random-0000", "random-0001")


def test_tau_is_measured_on_its_logarithm() -> None:
    # The middle of tau's range is 8: a trial there takes half of the logarithmic range, and far less of the linear.
    rows = corners(90.0, 90.0, 90.0, 90.0) + [trial(SETTING, "tpe-0009", 80.0, tau=8.0, gamma=1.0)]
    found = plateau(only_study(rows))
    assert found is not None
    assert found.share_area == pytest.approx(0.5, abs=0.01)  # a square turned by 45 degrees
    assert found.share_random == 0.0


def test_what_diverged_is_off_the_plateau_and_what_was_pruned_is_not_there() -> None:
    rows = corners(80.0, 80.0, 80.0, 80.0)
    rows[1] |= {"status": "failed", "stopped_by": "non_finite_loss"}  # its best epoch was as good
    rows.append(trial(SETTING, "tpe-0009", 10.0, tau=8.0, gamma=1.0, status="pruned"))
    found = plateau(only_study(rows))
    assert found is not None
    assert len(found.trial_ids) == 3
    assert found.share_area == pytest.approx(0.75)


def test_nothing_to_measure() -> None:
    assert plateau(only_study(corners(80.0, 80.0, 80.0, 80.0)[:1])) is None
    assert plateau(only_study([trial(SETTING, f"random-{i}", 80.0) for i in range(3)])) is None  # one point
    setting = Setting("toy", "tiny", "re")
    assert plateau(only_study([trial(setting, f"random-{i}", 80.0 + i) for i in range(3)], setting)) is None
    rows = [row | {"status": "failed", "stopped_by": "non_finite_loss"} for row in corners(8.0, 8.0, 8.0, 8.0)]
    assert plateau(only_study(rows)) is None
    assert plateau(only_study([row | {"block": "tpe"} for row in corners(8.0, 8.0, 8.0, 8.0)])).share_random is None  # type: ignore[union-attr]
