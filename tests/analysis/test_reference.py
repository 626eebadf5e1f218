"""The records that come with the project: a report that a newcomer can open at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import report
from analysis.load import Results, load_results
from study.records import SCHEMAS
from tests.analysis.keep_reference import keep
from trainables.recipes import FIGURE1, VARIANTS


@pytest.fixture(scope="module")
def folder(repo_root: Path) -> Path:
    return repo_root / "analysis" / "reference"


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return load_results([str(folder)])


def test_the_report_shows_them(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--results", str(folder), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "VD-LSTM+REAL" in printed
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Figure 1" in page
    assert "figure1-ptb" in page


def test_the_four_variants_of_toy_have_full_blocks(results: Results) -> None:
    toy = results.trials[results.trials["corpus"] == "toy"]
    assert set(toy["variant"]) == set(VARIANTS)
    for variant, trials in toy.groupby("variant"):
        assert set(trials["block"]) == {"default", "random", "tpe", "confirm"}, variant
        assert trials.loc[trials["block"] == "confirm", "test_ppl"].notna().all(), variant


def test_the_four_small_variants_of_ptb_have_as_many_epochs_each(results: Results) -> None:
    ptb = results.epochs[(results.epochs["corpus"] == "ptb") & (results.epochs["size"] == "small")]
    assert set(ptb["variant"]) == set(VARIANTS)
    assert ptb.groupby("variant")["epoch"].max().nunique() == 1


def test_figure_1_has_six_points_of_beta_and_six_of_tau(results: Results) -> None:
    ended = results.subspace[results.subspace["status"] == "complete"]
    assert ended.loc[ended["tau"] == FIGURE1.tau, "beta"].nunique() >= 6
    assert ended.loc[ended["beta"] == 1.0, "tau"].nunique() >= 6


def test_nothing_of_the_machine_they_were_made_on_is_in_them(results: Results) -> None:
    for name in SCHEMAS:
        frame = getattr(results, name).drop(columns="storage")
        for column in frame.select_dtypes("string").columns.union(frame.select_dtypes("object").columns):
            for value in frame[column].dropna().unique():
                assert "/" not in str(value).replace("ptb/", ""), f"{name}.{column}: {value}"


def test_keeping_what_is_kept_changes_nothing(folder: Path, tmp_path: Path) -> None:
    keep(str(folder), tmp_path)
    for path in folder.rglob("*.parquet"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()
