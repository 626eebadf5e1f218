"""The probability of <unk> and of frequent words: pairs over seeds, and the table."""

from __future__ import annotations

import math

import pytest

from analysis.measures.word_mass import MEASURES, NUM_FREQUENT, TOGETHER, comparisons
from analysis.records.load import Results
from analysis.records.sources import by_study
from analysis.tables.word_mass import word_mass
from study.records.records import Setting
from tests.support.frames import confirmed
from tests.support.memory import Row, name_of, results

BASE, REAL = Setting("ptb", "large", "baseline"), Setting("ptb", "large", "real")
WORDS = {"the": (1, 500), "<unk>": (2, 450), "N": (3, 300), "an": (32, 20), "rare": (49, 3)}


def masses(setting: Setting, seed: int, factor: float, *, origin: str = "paper", split: str = "test") -> list[Row]:
    """Every word's share of 10,000 positions times a factor; elsewhere half of it."""
    return [
        {
            **setting._asdict(), "study": name_of(setting), "trial_id": f"confirm-{origin}-s{seed}", "attempt": 1,
            "seed": seed, "epoch": 9, "split": split, "word": word, "frequency_rank": rank, "num_train": 10 * count,
            "num_split": count, "num_positions": 10_000, "mean_probability": factor * count / 10_000,
            "mean_probability_elsewhere": factor * count / 20_000,
        }
        for word, (rank, count) in WORDS.items()
    ]  # fmt: skip


def made(**more: list[Row]) -> Results:
    trials = [row for setting in (BASE, REAL) for row in confirmed(setting, "paper", [70.0, 71.0, 72.0])]
    rows = [row for seed, f in ((101, 1.0), (102, 1.1), (103, 0.9)) for row in masses(BASE, seed, f)]
    rows += [row for seed, f in ((101, 0.8), (102, 0.9), (103, 0.75), (104, 9.9)) for row in masses(REAL, seed, f)]
    return results(trials + more.get("trials", []), word_mass=rows + more.get("word_mass", []))


def test_the_contrast_is_paired_over_seeds() -> None:
    (one,) = comparisons(made(), "real", "baseline")
    assert (one.corpus, one.size, one.configuration, one.split) == ("ptb", "large", "recipe", "test")
    found = one.contrast("<unk>", MEASURES[0])
    assert found is not None
    assert found.seeds == (101, 102, 103)  # 104 is no confirmed trial of the study
    assert found.ratio == pytest.approx((0.8 * 0.9 * 0.75 / (1.0 * 1.1 * 0.9)) ** (1 / 3))
    assert found.p_value == 2 / 2**3


def test_words_and_the_frequent_ones_together() -> None:
    (one,) = comparisons(made(), "real", "baseline")
    words = one.words()
    assert words["word"].tolist() == ["the", "<unk>", "N", "an", TOGETHER]  # "rare" is neither frequent nor named
    assert words["share"].tolist() == pytest.approx([0.05, 0.045, 0.03, 0.002, 0.08])
    together = one.b.by_seed(TOGETHER, MEASURES[0])
    assert together == pytest.approx({101: 0.08, 102: 0.088, 103: 0.072})  # the and N; <unk> is not a word
    assert one.contrast(TOGETHER, MEASURES[1]) is None
    assert NUM_FREQUENT >= 3


def test_a_second_configuration_and_split_are_kept_apart() -> None:
    tuned = [row for setting in (BASE, REAL) for row in confirmed(setting, "tpe-0001", [60.0])]
    search = [row | {"trial_id": "tpe-0001", "block": "tpe", "origin": None} for row in (tuned[0], tuned[1])]
    rows = [row for setting in (BASE, REAL) for row in masses(setting, 101, 2.0, origin="tpe-0001")]
    rows += masses(BASE, 101, 1.0, split="valid")
    found = list(comparisons(made(trials=tuned + search, word_mass=rows), "real", "baseline"))
    assert [(one.configuration, one.split) for one in found] == [("recipe", "test"), ("tuned", "test")]
    assert found[1].contrast("the", MEASURES[0]).ratio == pytest.approx(1.0)  # type: ignore[union-attr]


def test_without_one_of_the_networks_there_is_no_comparison() -> None:
    trials = confirmed(BASE, "paper", [70.0])
    assert list(comparisons(results(trials, word_mass=masses(BASE, 101, 1.0)), "real", "baseline")) == []
    assert word_mass(results()).rows == ()


def test_the_table() -> None:
    table = word_mass(made())
    rows = {row.values()["word"]: row for row in table.rows}
    unk = rows["<unk>"].values()
    assert unk["share"] == pytest.approx(0.045)
    assert unk["baseline_probability"] == pytest.approx(0.045)
    assert unk["real_probability"] == pytest.approx(0.045 * (0.8 + 0.9 + 0.75) / 3)
    assert unk["mass_ratio_low"] < unk["mass_ratio"] < unk["mass_ratio_high"] < 1
    assert unk["elsewhere_ratio"] == pytest.approx(unk["mass_ratio"])
    assert unk["mass_p"] == 0.25
    assert unk["mass_p_holm"] == 0.75  # <unk>, an and the: the named words that are there
    assert rows["N"].values()["mass_p"] is None
    assert rows[TOGETHER].values()["elsewhere_ratio"] is None
    assert (unk["seeds"], unk["frequency_rank"], rows[TOGETHER].values()["frequency_rank"]) == (3, 2, None)
    behind = by_study(rows["<unk>"].data["mass_ratio"].trials)
    ids = tuple(f"confirm-paper-s{seed}" for seed in (101, 102, 103))
    assert behind == {name_of(REAL): ids, name_of(BASE): ids}


def test_a_mass_of_nothing_is_left_out() -> None:
    rows = masses(BASE, 101, 1.0)
    for row in rows:
        row["mean_probability_elsewhere"] = math.nan
    trials = [row for setting in (BASE, REAL) for row in confirmed(setting, "paper", [70.0])]
    (one,) = comparisons(results(trials, word_mass=rows + masses(REAL, 101, 0.5)), "real", "baseline")
    assert one.contrast("the", MEASURES[1]) is None
    found = one.contrast("the", MEASURES[0])
    assert found is not None
    assert (found.ratio, found.low) == (pytest.approx(0.5), None)
