"""The records that come with the project: a report that a newcomer can open at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from analysis import report
from analysis.records.load import Results, load_results, load_token_scores
from analysis.records.trials import measured
from study.records.records import SCHEMAS, Setting, read_table
from study.search.ledger import Ledger
from study.search.setting_search import SettingSearch
from study.spec.spec import StudySpec
from tests.support.keep_reference import keep
from tests.support.studies import EVALUATED
from trainables.recipes import FIGURE1, SIZES, VARIANTS


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
        assert measured(results.evaluations, trials[trials["block"] == "confirm"], "test").notna().all(), variant


def test_the_small_models_of_ptb_were_trained_to_their_full_length(results: Results) -> None:
    trials = results.trials[(results.trials["corpus"] == "ptb") & (results.trials["size"] == "small")]
    assert len(trials)
    assert (trials["num_epochs"] == SIZES["small"].max_epochs).all()
    assert measured(results.evaluations, trials, "test").notna().all()


def test_figure_1_has_both_ends_of_panel_a_and_comes_near_the_floor(results: Results) -> None:
    ended = results.subspace[(results.subspace["status"] == "complete") & (results.subspace["tau"] == FIGURE1.tau)]
    last = ended.sort_values("epoch").groupby("beta")["subspace_distance"].last()
    assert last[0.0] > 0.95
    assert FIGURE1.hidden_size**-0.5 < last[1.0] < 0.08


def test_nothing_of_the_machine_they_were_made_on_is_in_them(results: Results) -> None:
    frames = {name: getattr(results, name) for name in SCHEMAS if name != "token_scores"}
    frames["token_scores"] = load_token_scores(results.storages).drop(columns="log_probs")
    for name, table in frames.items():
        frame = table.drop(columns="storage")
        for column in frame.select_dtypes("string").columns.union(frame.select_dtypes("object").columns):
            for value in frame[column].dropna().unique():
                assert "/" not in str(value).replace("ptb/", ""), f"{name}.{column}: {value}"


def test_keeping_what_is_kept_changes_nothing(folder: Path, tmp_path: Path) -> None:
    keep(str(folder), tmp_path)
    for name in SCHEMAS:
        assert read_table(str(tmp_path), name) == read_table(str(folder), name), name


def test_what_has_not_ended_is_left_out_and_what_is_kept_is_gone_on_with(tmp_path: Path) -> None:
    """A study of the recipe on two seeds, one trial done: kept, copied back, it has one trial left to do."""
    spec = StudySpec(setting=Setting("toy", "tiny", "re"), num_samples=0, max_epochs=1, num_seeds=2)
    ledger = Ledger(spec, str(tmp_path / "results"))
    search = SettingSearch(ledger, tmp_path / "journal")
    done, begun = search.next_trial(), search.next_trial()
    assert done is not None
    assert begun is not None
    scores = {split: torch.tensor([-1.0, -2.5]) for split in ("valid", "test")}
    search.record(done, {"epoch": 1, "valid_ppl": 9.0, **EVALUATED, "token_scores": scores})
    search.end(done)
    ledger.records.flush()
    keep(str(tmp_path / "results"), tmp_path / "kept")
    kept = load_results([str(tmp_path / "kept")])
    assert kept.trials["trial_id"].tolist() == [done.trial_id]
    assert measured(kept.evaluations, kept.trials, "test").tolist() == [40.0]
    scored = load_token_scores([str(tmp_path / "kept")])
    assert scored["split"].tolist() == ["test"]
    assert scored["log_probs"].iloc[0].tolist() == [-1.0, -2.5]
    assert scored["epoch"].tolist() == [1]
    again = SettingSearch(Ledger(spec, str(tmp_path / "kept")), tmp_path / "another")
    left = again.next_trial()
    assert left is not None
    assert left.trial_id == begun.trial_id
    assert again.next_trial() is None
