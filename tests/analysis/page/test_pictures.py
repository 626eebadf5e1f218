"""Figures as files and as what the page embeds."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from analysis.page import pictures
from analysis.page.pictures import write_pictures
from analysis.records.load import Results, load_results
from study.records.records import Setting
from tests.support.synthetic import write_trial


def write_one(storage: Path) -> None:
    for trial_id in ("confirm-paper-s101", "confirm-paper-s102"):
        write_trial(str(storage), Setting("toy", "tiny", "re"), "s", trial_id, [50.0, 40.0], origin="paper")


def test_a_figure_is_three_files_and_embedded(tmp_path: Path) -> None:
    write_one(tmp_path / "results")
    (picture,), skipped = write_pictures(
        load_results([str(tmp_path / "results")]), tmp_path / "out" / "figures", only=["figure2"]
    )
    assert skipped == []
    assert picture.files == ("figures/figure2.png", "figures/figure2.svg", "figures/figure2.csv")
    assert all((tmp_path / "out" / path).stat().st_size > 100 for path in picture.files)
    kind, _, content = picture.uri.partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert base64.b64decode(content) == (tmp_path / "out" / "figures" / "figure2.svg").read_bytes()
    assert 400 < picture.width < 1200
    assert 100 < picture.height < 2000
    assert picture.trials == (("s", "confirm-paper-s101"), ("s", "confirm-paper-s102"))
    rows = (tmp_path / "out" / "figures" / "figure2.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1].endswith(",s,confirm-paper-s101 confirm-paper-s102")


def test_what_is_large_as_vectors_is_embedded_as_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_one(tmp_path / "results")
    monkeypatch.setattr(pictures, "_LARGEST_SVG", 100)
    (picture,), _ = write_pictures(load_results([str(tmp_path / "results")]), tmp_path / "figures", only=["figure2"])
    assert picture.uri.startswith("data:image/png;base64,iVBOR")


def test_an_old_figure_does_not_outlive_its_records(tmp_path: Path) -> None:
    write_one(tmp_path / "results")
    folder = tmp_path / "figures"
    write_pictures(load_results([str(tmp_path / "results")]), folder, only=["figure2"])
    for name in ("figure2_a-part.svg", "figure2_mine.txt", "figure22.svg", "mine_figure2.svg"):
        (folder / name).write_text("")
    found, (skipped,) = write_pictures(load_results([str(tmp_path / "none")]), folder, only=["figure2"])
    assert found == []
    assert (skipped.name, skipped.section) == ("figure2", "paper")
    assert skipped.needs
    assert {path.name for path in folder.iterdir()} == {"figure2_mine.txt", "figure22.svg", "mine_figure2.svg"}


def test_figures_drawn_side_by_side_are_the_same(
    example: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["figure1", "figure2", "forest"]
    monkeypatch.setattr(pictures.os, "cpu_count", lambda: 2)
    one = write_pictures(example, tmp_path / "one" / "figures", only=names)
    started = []
    pool = pictures.ProcessPoolExecutor
    monkeypatch.setattr(pictures, "_MANY_EPOCHS", len(example.epochs))
    monkeypatch.setattr(pictures, "ProcessPoolExecutor", lambda *a, **k: started.append(a) or pool(*a, **k))
    assert write_pictures(example, tmp_path / "two" / "figures", only=names) == one
    assert started == [(2,)]
