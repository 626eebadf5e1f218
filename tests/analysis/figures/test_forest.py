"""The variants against the baseline by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from analysis.figures.forest import ForestInfo, Line, draw_forest, forest
from analysis.records.load import load_results
from study.records.records import Setting
from tests.support.synthetic import write_trial

SETTING = Setting("ptb", "small", "real")
BASE = {101: 100.0, 102: 102.0, 103: 98.0, 104: 90.0}
REAL = {101: 95.0, 102: 95.0, 103: 94.0, 105: 10.0}


def confirm(path: Path, variant: str, origin: str, ppls: Mapping[int, float], *, size: str = "small") -> None:
    for seed, ppl in ppls.items():
        setting = SETTING._replace(variant=variant, size=size)
        trial_id, study = f"confirm-{origin}-s{seed}", f"{variant}-{size}"
        write_trial(str(path), setting, study, trial_id, [ppl], origin=origin, seed=seed)


def read(path: Path) -> ForestInfo:
    return forest(load_results([str(path)]))


def test_pairs_over_common_seeds(tmp_path: Path) -> None:
    confirm(tmp_path, "baseline", "paper", BASE)
    confirm(tmp_path, "real", "paper", REAL)
    differences = np.log([95.0 / 100.0, 95.0 / 102.0, 94.0 / 98.0])
    low, high = scipy.stats.t.interval(0.95, 2, loc=differences.mean(), scale=scipy.stats.sem(differences))
    names = tuple(f"confirm-paper-s{seed}" for seed in (101, 102, 103))
    recipe, tuned = read(tmp_path).lines
    assert recipe == Line(
        setting=SETTING,
        kind="recipe",
        ratio=pytest.approx(math.exp(differences.mean())),
        low=pytest.approx(math.exp(low)),
        high=pytest.approx(math.exp(high)),
        p_value=0.25,  # two of the eight sign vectors
        num_pairs=3,
        lacks="",
        paper_ratio=pytest.approx(86.3 / 92.6),
        seeds=(101, 102, 103),
        studies=("real-small", "baseline-small"),
        trial_ids=(names, names),
    )
    assert (tuned.kind, tuned.ratio, tuned.num_pairs, tuned.seeds) == ("tuned", None, 0, ())
    assert "confirmed" in tuned.lacks


def test_the_picture_says_numbers_and_what_is_missing(tmp_path: Path) -> None:
    confirm(tmp_path, "baseline", "paper", BASE)
    confirm(tmp_path, "real", "paper", {101: 95.0})
    left, right = draw_forest(read(tmp_path)).axes
    assert "n=1  0.950 (no interval)" in [text.get_text() for text in left.texts]
    assert "not confirmed yet" in [text.get_text() for text in right.texts]
    assert [text.get_text() for text in left.texts][1:] == ["PTB, small (200 units)", "VD-LSTM+REAL"]
    low, high = left.get_xlim()
    assert low < 86.3 / 92.6 < 0.95 < 1.0 < high


def test_a_variant_without_a_baseline_has_no_line(tmp_path: Path) -> None:
    confirm(tmp_path, "re", "paper", BASE)
    confirm(tmp_path, "real", "paper", REAL)
    assert read(tmp_path) == ForestInfo(lines=())
    confirm(tmp_path, "baseline", "paper", BASE, size="large")
    assert read(tmp_path).is_empty


def test_the_frame_names_the_trials_of_both(tmp_path: Path) -> None:
    confirm(tmp_path, "baseline", "paper", BASE)
    confirm(tmp_path, "real", "paper", {101: 95.0})
    frame = read(tmp_path).frame()
    assert frame.loc[:1, ["variant", "study", "trial_ids"]].to_numpy().tolist() == [
        ["real", "real-small", ("confirm-paper-s101",)], ["baseline", "baseline-small", ("confirm-paper-s101",)]
    ]  # fmt: skip
