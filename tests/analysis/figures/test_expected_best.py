"""Expected-best curves and their crossings by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from analysis.figures import FIGURES
from analysis.figures.expected_best import (
    Crossing,
    ExpectedBest,
    ExpectedBestInfo,
    draw_expected_best,
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
        blocks=(
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
        crossings=(),
    )


def test_a_wide_space_passes_a_narrow_one(tmp_path: Path) -> None:
    """One draw of ``real`` costs two hours and is worse on the mean (L = 4.5 against 4.4); its best is better."""
    write(tmp_path, "baseline", [math.exp(4.4)] * 4)
    write(tmp_path, "real", [math.exp(x) for x in (4.2, 4.2, 4.8, 4.8)], hours=2.0)
    # Two draws: 4.2 in five of six pairs, hence 4.3: less than 4.4, after four hours.
    crossing = Crossing(corpus="ptb", size="small", better="real", worse="baseline", num_trials=2, device_h=4.0)
    info = read(tmp_path)
    assert info.crossings == (crossing,)
    left, right = draw_expected_best(info).axes
    assert "+REAL passes VD-LSTM at 2 draws" in [text.get_text() for text in left.texts]
    assert "+REAL passes VD-LSTM at 4 hours" in [text.get_text() for text in right.texts]


def test_who_leads_from_the_first_passes_nobody(tmp_path: Path) -> None:
    write(tmp_path, "baseline", [math.exp(4.4)] * 4)
    write(tmp_path, "real", [math.exp(4.0), math.exp(4.2)])
    assert read(tmp_path).crossings == ()


def test_a_part_keeps_its_crossings(tmp_path: Path) -> None:
    write(tmp_path, "baseline", [math.exp(4.4)] * 4)
    write(tmp_path, "real", [math.exp(x) for x in (4.2, 4.2, 4.8, 4.8)])
    write_trial(str(tmp_path), Setting("toy", "tiny", "re"), "toy", "random-0001", [50.0])
    info = read(tmp_path)
    assert FIGURES["expected_best"].parts is not None
    first, second = FIGURES["expected_best"].parts(info)
    assert (first.suffix, first.info.crossings) == ("ptb", info.crossings)
    assert (second.suffix, second.info.crossings) == ("toy", ())
