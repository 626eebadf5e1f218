"""Expected-best curves by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from analysis.figures.expected_best import (
    ExpectedBest,
    ExpectedBestInfo,
    expected_best_curves,
)
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import write_trial

SETTING = Setting("ptb", "small", "real")


def write(path: Path, variant: str, ppls: Sequence[float], *, hours: float = 1.0) -> None:
    for i, ppl in enumerate(ppls, start=1):
        setting = SETTING._replace(variant=variant)
        write_trial(str(path), setting, variant, f"random-{i:04d}", [ppl], device_s=3600.0 * hours)


def read(path: Path) -> ExpectedBestInfo:
    return expected_best_curves(load_results([str(path)]))


def test_two_draws(tmp_path: Path) -> None:
    write(tmp_path, "real", [math.exp(5.0), math.exp(4.0)], hours=0.5)
    write_trial(str(tmp_path), SETTING, "real", "random-0003", [1.0], status="interrupted")
    write_trial(str(tmp_path), SETTING, "real", "tpe-0004", [1.0])
    assert read(tmp_path) == ExpectedBestInfo(
        studies=(
            ExpectedBest(
                setting=SETTING,
                study="real",
                trial_ids=("random-0001", "random-0002"),
                device_h=(0.5, 1.0),
                u_ppl=pytest.approx((math.exp(4.5), math.exp(4.0))),  # without replacement, two draws find the lower
                v_ppl=pytest.approx((math.exp(4.5), math.exp(4.25))),  # with replacement, three times out of four
                median_low=(None, None),
                median_high=(None, None),
                losses=pytest.approx((5.0, 4.0)),
                num_diverged=0,
                num_left_out=1,
            ),
        ),
    )
