"""Figure 2: the data by equality, and that what is drawn is what the data say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from matplotlib.colors import to_hex

from analysis.figures import style
from analysis.figures.figure2 import CurvesInfo, draw_training_curves, training_curves
from analysis.records.load import Results, load_results
from study.records.records import Setting
from tests.support.synthetic import write_run, write_trial
from trainables.recipes import VARIANTS

SETTING = Setting("ptb", "small", "real")


def read(path: Path) -> CurvesInfo:
    return training_curves(load_results([str(path)]))


def test_the_mean_over_confirmed_seeds(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [500.0, 400.0])
    for seed, ppls in ((101, [200.0, 100.0, 90.0]), (102, [210.0, 104.0]), (103, [190.0, 102.0, 91.0])):
        write_trial(str(tmp_path), SETTING, "s", f"confirm-paper-s{seed}", ppls, origin="paper")
    write_trial(str(tmp_path), SETTING, "s", "confirm-paper-s104", [10.0], origin="paper", status="interrupted")
    write_trial(str(tmp_path), SETTING, "s", "confirm-tpe-0001-s101", [20.0], origin="tpe-0001")
    (curve,) = read(tmp_path).studies
    assert (curve.setting, curve.source, curve.study, curve.paper_ppl) == (SETTING, "confirm", "s", 86.3)
    assert curve.trial_ids == ("confirm-paper-s101", "confirm-paper-s102", "confirm-paper-s103")
    assert curve.epochs == (1, 2)  # the third epoch is not there for every seed
    loss = np.log([[200.0, 210.0, 190.0], [100.0, 104.0, 102.0]])
    low, high = scipy.stats.t.interval(0.95, 2, loc=loss.mean(axis=1), scale=scipy.stats.sem(loss, axis=1))
    assert curve.ppl == pytest.approx(np.exp(loss.mean(axis=1)))
    assert curve.low == pytest.approx(np.exp(low))
    assert curve.high == pytest.approx(np.exp(high))


def test_without_confirmation_the_default_trial(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [500.0, math.nan, 300.0], status="failed")
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [50.0])
    (curve,) = read(tmp_path).studies
    assert (curve.source, curve.epochs, curve.low, curve.high) == ("default", (1, 3), (), ())
    assert curve.ppl == pytest.approx((500.0, 300.0))


def test_confirmation_under_way_is_better_than_nothing(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "confirm-paper-s101", [200.0], origin="paper", status="interrupted")
    assert read(tmp_path).studies[0].ppl == pytest.approx((200.0,))


def test_nothing_to_draw(tmp_path: Path) -> None:
    assert read(tmp_path) == CurvesInfo(studies=())
    write_run(str(tmp_path), SETTING, "s")
    write_trial(str(tmp_path), SETTING, "s", "default-0000", [math.nan], status="failed")
    write_trial(str(tmp_path), SETTING, "s", "random-0001", [300.0], status="pruned")
    assert read(tmp_path).is_empty


def test_panels_show_the_data_in_the_variants_colours(example: Results) -> None:
    info = training_curves(example)
    axes = draw_training_curves(info).axes
    assert [ax.get_title(loc="left").split(",")[:2] for ax in axes] == [
        ["PTB", " small (200 units)"],
        ["PTB", " large (1500 units)"], ["WikiText-2", " small (200 units)"], ["Toy", " tiny (48 units)"],
    ]  # fmt: skip
    curves = [c for c in info.studies if (c.setting.corpus, c.setting.size) == ("ptb", "small")]
    assert [c.setting.variant for c in curves] == list(VARIANTS)
    lines = [line for line in axes[0].lines if len(line.get_xdata()) > 1]
    for line, curve in zip(lines, curves, strict=True):
        assert tuple(line.get_ydata()) == curve.ppl
        assert to_hex(line.get_color()) == style.colour(curve.setting.variant).lower()
    low, high = axes[0].get_ylim()
    assert all(low < c.ppl[-1] < high for c in curves)
    assert all(low < c.paper_ppl < high for c in curves if c.paper_ppl)


def test_the_frame_has_a_row_per_setting_and_epoch(example: Results) -> None:
    info = training_curves(example)
    frame = info.frame()
    assert len(frame) == sum(len(curve.epochs) for curve in info.studies)
    assert frame.loc[0, "trial_ids"][0] == "confirm-paper-s101"


def test_one_epoch_of_one_trial_is_visible(tmp_path: Path) -> None:
    write_trial(str(tmp_path), Setting("toy", "tiny", "re"), "s", "default-0000", [50.0])
    (ax,) = draw_training_curves(read(tmp_path)).axes
    assert ax.lines[0].get_marker() == "o"
    low, high = ax.get_ylim()
    assert low < 50.0 < high
