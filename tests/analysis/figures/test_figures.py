"""Contract of every registered figure: the same bytes again, trials behind each number, studies in any state."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from analysis.figures import FIGURES, drawings, style
from analysis.records.load import Results, load_results
from analysis.records.sources import keys_of
from study.records.records import Setting
from tests.support.landscape import write_landscape, write_subspace_runs
from tests.support.synthetic import write_run, write_trial
from trainables.recipes import VARIANTS

SETTING = Setting("ptb", "small", "real")


@pytest.fixture(scope="module")
def landscape(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two variants with all blocks, and section 6.2's experiment: something for every figure."""
    storage = str(tmp_path_factory.mktemp("landscape"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for variant in ("baseline", "real"):
            setting = SETTING._replace(variant=variant)
            write_landscape(storage, setting, num_random=17, num_tpe=10, num_seeds=2, max_epochs=12)
        write_subspace_runs(storage, num_seeds=2, num_epochs=2)
    return load_results([storage])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_twice_to_the_same_bytes(name: str, landscape: Results, tmp_path: Path) -> None:
    assert FIGURES[name].data(landscape) == FIGURES[name].data(landscape)
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (drawing,) = drawings(landscape, only=[name])
        written.append(style.save(drawing.figure, folder, drawing.name))
    with Image.open(written[0][0]) as image:
        assert min(image.size) > 200
        assert len(image.convert("RGB").getcolors(maxcolors=1_000_000) or []) > 10
    for one, two in zip(*written, strict=True):
        assert one.read_bytes() == two.read_bytes()
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", written[0][1].read_text(encoding="utf-8"))
    assert len(texts) > 10  # text stays text
    if name != "figure1":
        assert {"+REAL", "VD-LSTM+REAL"} & set(texts) or any("+REAL" in text for text in texts)


@pytest.mark.parametrize("name", FIGURES)
def test_every_number_can_be_followed_to_its_trials(name: str, landscape: Results) -> None:
    known = {*keys_of(landscape.trials), *keys_of(landscape.subspace)}
    for drawing in drawings(landscape, only=[name]):
        behind = set(keys_of(drawing.info.frame()))
        assert behind
        assert behind <= known


def empty(storage: str) -> None:
    """No record at all."""


def only_a_run(storage: str) -> None:
    write_run(storage, SETTING, "s")


def one_epoch(storage: str) -> None:
    for variant in VARIANTS:
        write_trial(storage, SETTING._replace(variant=variant), variant, "default-0000", [50.0])


def all_failed(storage: str) -> None:
    write_run(storage, SETTING, "s")
    for i in range(5):
        more = {"tau": 3.0 + i, "stopped_by": "non_finite_loss"}
        write_trial(storage, SETTING, "s", f"random-{i:04d}", [math.nan], status="failed", **more)
    write_trial(storage, SETTING, "s", "tpe-0005", [], status="failed", stopped_by="error")


def all_pruned(storage: str) -> None:
    write_run(storage, SETTING, "s", grace_period=2, reduction_factor=3, max_epochs=50)
    for i in range(6):
        more = {"tau": 3.0 + i, "stopped_by": "asha", "would_stop_epoch": 2}
        write_trial(storage, SETTING, "s", f"tpe-{i:04d}", [300.0 - i, 200.0 - i], status="pruned", **more)


def half_finished(storage: str) -> None:
    write_run(storage, SETTING, "s", outcome="running", ended_at=None)
    for i in range(6):
        write_trial(storage, SETTING, "s", f"random-{i:04d}", [300.0, 200.0 - i], status="interrupted", tau=3.0 + i)
    write_trial(storage, SETTING, "s", "tpe-0007", [], status="interrupted")
    write_subspace_runs(storage, num_seeds=1, num_epochs=4, unfinished=1)


def all_equal(storage: str) -> None:
    for variant in ("baseline", "real"):
        setting = SETTING._replace(variant=variant)
        for i in range(20):
            more = {"tau": 3.0 + i, "gamma": 0.5, "drop_prob": 0.1 + i / 50}
            write_trial(storage, setting, variant, f"random-{i:04d}", [300.0, 200.0], **more)
        for seed in (101, 102):
            write_trial(storage, setting, variant, f"confirm-paper-s{seed}", [200.0], origin="paper", seed=seed)


def one_seed(storage: str) -> None:
    for variant, ppl in (("baseline", 90.0), ("real", 80.0)):
        setting = SETTING._replace(variant=variant)
        write_trial(storage, setting, variant, "confirm-paper-s101", [300.0, ppl], origin="paper", seed=101)
        write_trial(storage, setting, variant, "random-0001", [300.0, ppl])
        write_trial(storage, setting, variant, "random-0002", [math.nan], status="failed", drop_prob=0.2)
    write_subspace_runs(storage, num_seeds=1, num_epochs=2)


def far_apart(storage: str) -> None:
    for i in range(17):
        more = {"tau": 3.0 + i, "gamma": 0.5 + i, "drop_prob": i / 20}
        write_trial(storage, SETTING, "s", f"random-{i:04d}", [1e300, 1e250 * (i + 1)], **more)


SHOWN: dict[Callable[[str], None], set[str]] = {
    empty: set(),
    only_a_run: set(),
    one_epoch: {"figure2", "best_so_far", "tau_gamma", "cost"},
    all_failed: {"expected_best", "cost"},
    all_pruned: {"best_so_far", "asha_rungs", "cost"},
    half_finished: {"figure1", "cost"},
    all_equal: set(FIGURES) - {"figure1", "asha_rungs"},
    one_seed: set(FIGURES) - {"importance", "asha_rungs", "asha_audit", "fidelity"},
    far_apart: set(FIGURES) - {"figure1", "figure2", "forest", "asha_rungs"},
}
"""Storage -> figures that it has enough records for."""


@pytest.mark.parametrize("write", SHOWN, ids=lambda write: write.__name__)
def test_studies_in_any_state(write: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    write(str(tmp_path / "storage"))
    results = load_results([str(tmp_path / "storage")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(drawings(results))
        for drawing in found:
            style.save(drawing.figure, tmp_path, drawing.name)
    names = {drawing.name.removesuffix("_ptb").removesuffix("_ptb-small") for drawing in found}
    assert names == SHOWN[write]


def test_titles_and_captions_are_sentences() -> None:
    for figure in FIGURES.values():
        assert figure.title
        assert figure.caption.endswith(".")
        assert not figure.needs.endswith(".")
        assert re.fullmatch(r"[a-z0-9_]+", figure.name)
