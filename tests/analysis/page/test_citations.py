"""From a number to its trials: anchors, citations, and what is said of each trial cited."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from analysis.page.citations import CitationIndex, show
from analysis.records.load import load_results
from analysis.records.sources import trial_keys
from study.records.records import Records, Setting
from tests.support.synthetic import START, write_run, write_trial

SETTING = Setting("ptb", "small", "real")
SHA = "ab" * 32


@pytest.fixture
def citation_index(tmp_path: Path) -> CitationIndex:
    """Two studies: one of fifteen trials and two runs, one of section 6.2's experiment."""
    storage = str(tmp_path)
    facts = {
        "corpus_sha256": SHA, "git_commit": "c" * 40, "git_dirty": True, "torch": "2.13.0", "cpu_model": "A CPU",
        "num_cpus": 8, "argv": "study/run.py --variant real",
    }  # fmt: skip
    write_run(storage, SETTING, "s", **facts)
    write_run(storage, SETTING, "s", run=2, started_at=START + timedelta(hours=2), outcome="running", ended_at=None)
    for i in range(15):
        write_trial(storage, SETTING, "s", f"random-{i:04d}", [90.0 + i], seed=i, tau=20.0 + i, git_commit="d" * 40)
    confirmed = {"origin": "paper", "single_stream_valid_ppl": 89.0, "test_ppl": 85.5}
    write_trial(storage, SETTING, "t", "confirm-paper-s101", [90.0], **confirmed)
    rows = [
        {"study": "f", "trial_id": "b1", "attempt": 1, "epoch": epoch, "beta": 1.0, "tau": 10.0, "seed": 3}
        | {"subspace_distance": 1.0 / epoch, "epoch_s": 3600.0, "status": "complete", "corpus_sha256": SHA}
        for epoch in (1, 2)
    ]
    Records(storage, Setting("ptb", "figure1", "al"), "f").write("subspace", "b1", 1, rows)
    return CitationIndex(load_results([storage]))


def test_a_citation_leads_to_the_trials_row(citation_index: CitationIndex) -> None:
    (cited,) = citation_index.cite(trial_keys("s", ["random-0003", "random-0001", "random-0003"]))
    assert [trial_id for trial_id, _ in cited.trials] == ["random-0003", "random-0001"]
    assert not cited.whole
    study = {study.name: study for study in citation_index.studies()}["s"]
    assert cited.anchor == study.anchor == citation_index.anchor("s")
    rows = {anchor: dict(zip(study.columns, values, strict=True)) for anchor, values in study.rows}
    assert [rows[anchor]["trial_id"] for _, anchor in cited.trials] == ["random-0003", "random-0001"]
    assert rows[cited.trials[0][1]] == {
        "trial_id": "random-0003", "seed": "3", "tau": "23", "best_valid_ppl": "93", "final_valid_ppl": "93",
    }  # fmt: skip


def test_only_what_is_cited_has_a_row_and_what_they_share_stands_once(citation_index: CitationIndex) -> None:
    citation_index.cite(trial_keys("s", ["random-0003", "random-0004"]))
    by_name = {study.name: study for study in citation_index.studies()}
    assert len(by_name["s"].rows) == 2
    assert by_name["f"].rows == ()
    shared = dict(by_name["s"].shared)
    assert (shared["status"], shared["drop_prob"], shared["bptt"]) == ("complete", "0.3", "35")
    assert shared["git_commit"] == "d" * 12
    assert not set(shared) & set(by_name["s"].columns)
    assert "origin" not in {*shared, *by_name["s"].columns}, "no trial has a value there"


def test_one_trial_alone_shares_everything_with_itself(citation_index: CitationIndex) -> None:
    citation_index.cite(trial_keys("s", ["random-0003"]))
    study = {study.name: study for study in citation_index.studies()}["s"]
    assert [values for _, values in study.rows] == [("random-0003",)]
    assert dict(study.shared)["tau"] == "23"


def test_what_was_measured_on_a_trials_weights_stands_in_its_row(citation_index: CitationIndex) -> None:
    citation_index.cite(trial_keys("t", ["confirm-paper-s101"]))
    shared = dict({study.name: study for study in citation_index.studies()}["t"].shared)
    assert (shared["single_stream valid perplexity"], shared["single_stream test perplexity"]) == ("89", "85.5")


def test_a_whole_study_is_not_spelled_out(citation_index: CitationIndex) -> None:
    every = [f"random-{i:04d}" for i in range(15)]
    assert citation_index.cite(trial_keys("s", every))[0].whole
    assert not citation_index.cite(trial_keys("s", every[1:]))[0].whole
    assert not citation_index.cite(trial_keys("f", ["b1"]))[0].whole, "a few are named"


def test_what_the_records_lack_has_no_anchor(citation_index: CitationIndex) -> None:
    (missing,) = citation_index.cite(trial_keys("gone", ["a"]))
    assert (missing.anchor, missing.trials) == ("", (("a", ""),))
    (cited,) = citation_index.cite(trial_keys("s", ["random-0099"]))
    assert cited.trials == (("random-0099", ""),)
    assert {study.name for study in citation_index.studies()} == {"f", "s", "t"}


def test_a_trial_of_the_subspace_experiment_is_followed_too(citation_index: CitationIndex) -> None:
    (cited,) = citation_index.cite(trial_keys("f", ["b1"]))
    study = {study.name: study for study in citation_index.studies()}["f"]
    assert (study.rows[0][0], study.setting, study.num_trials) == (cited.trials[0][1], "ptb/figure1/al", 1)
    shared = dict(study.shared)
    assert (shared["beta"], shared["epoch"], shared["subspace_distance"]) == ("1", "2", "0.5")
    assert study.checksums == (SHA,)


def test_a_run_says_where_it_took_place(citation_index: CitationIndex) -> None:
    study = {study.name: study for study in citation_index.studies()}["s"]
    assert study.checksums == (SHA,)
    assert study.commits == ("c" * 40, "d" * 40)
    assert study.counts == (("complete", 15),)
    first, second = study.runs
    assert first.title == "Run 1, 2026-03-01 12:00 to 2026-03-01 13:00"
    assert second.title == "Run 2, 2026-03-01 14:00"
    facts = dict(first.facts)
    assert facts["argv"] == "study/run.py --variant real"
    assert facts["commit"] == "c" * 40 + " with uncommitted changes"
    assert (facts["versions"], facts["machine"]) == ("torch 2.13.0", "A CPU, 8 CPUs")
    assert "num_samples 12" in facts["settings"]
    assert "commit" not in dict(second.facts)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("lr", 0.123456789, "0.12346"),
        ("device_s", 1234567.8, "1234568"),
        ("seed", 101, "101"),
        ("audit", True, "yes"),
        ("audit", False, "no"),
        ("origin", None, ""),
        ("test_ppl", float("nan"), ""),
        ("started_at", pd.NaT, ""),
        ("started_at", pd.Timestamp(START), "2026-03-01 12:00"),
        ("git_commit", "a" * 40, "a" * 12),
        ("corpus_sha256", SHA, SHA),
    ],
)
def test_values_in_few_characters(name: str, value: object, text: str) -> None:
    assert show(name, value) == text
