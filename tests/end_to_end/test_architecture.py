"""A new architecture by the real commands: a study of it is killed, goes on, is searched, recorded and reported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from study.records.records import read_table
from study.spec.spaces import search_space
from study.spec.spec import Setting
from tests.support import tanh_cell
from tests.support.processes import machine
from trainables.config import TrialConfig, paper_config
from trainables.data.corpora import load_corpus
from trainables.models import num_params
from trainables.trial.training import Training

STUDY = (
    "study.run", "--variant", "rnn", "--size", "tiny", "--corpus", "toy", "--num-samples", "3", "--max-epochs", "2",
    "--seeds", "1", "--max-concurrent", "1", "--gpus-per-trial", "0",
)  # fmt: skip

pytestmark = pytest.mark.slow


def test_a_study_of_it_trains_resumes_and_stands_in_the_report(
    tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tanh_cell.register(monkeypatch)
    tanh_cell.write_sitecustomize(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{repo_root}")
    storage = str(tmp_path / "results")
    with machine() as here:
        process = here.start(*STUDY, "--storage", storage)
        deadline = time.monotonic() + 60
        while not read_table(storage, "epochs").num_rows:
            assert time.monotonic() < deadline, here.log.read_text()
            time.sleep(0.05)
        here.kill()
        process.wait(10)
        here.run(*STUDY, "--storage", storage, timeout=120)
        shown = ("--only", "table1,parameters", "--out", str(tmp_path / "report"))
        report = here.run("analysis.report", "--results", storage, *shown, timeout=120)

    trials = read_table(storage, "trials").to_pylist()
    assert {t["block"] for t in trials} == {"default", "random", "tpe", "select", "confirm"}
    assert {t["status"] for t in trials} <= {"complete", "pruned"}
    assert all(t["tau"] is None and t["gamma"] is None for t in trials)
    assert not {"tau", "gamma", "target_gradient"} & set(search_space(Setting("toy", "tiny", "rnn")))
    config = paper_config("rnn", "tiny", "toy", max_epochs=2)
    assert {t["num_params"] for t in trials} == {num_params(config)} == {401 * 48 + 2 * (2 * 48**2 + 48) + 401 * 49}
    # Killed and resumed, it is the trial that was never interrupted.
    corpus, epochs = load_corpus("toy"), read_table(storage, "epochs").to_pylist()
    first = next(t for t in trials if t["block"] == "default")
    training = Training(TrialConfig.from_dict(config.to_dict() | {"seed": first["seed"]}), corpus.train)
    losses = [training.train_epoch().train_loss for _ in range(2)]
    assert [e["train_loss"] for e in epochs if e["trial_id"] == first["trial_id"]] == losses

    paper = next(t for t in trials if t["block"] == "confirm" and t["origin"] == "paper")
    (test_ppl,) = (
        e["value"]
        for e in read_table(storage, "evaluations").to_pylist()
        if (e["trial_id"], e["split"]) == (paper["trial_id"], "test")
    )
    row = next(line for line in report.partition("Toy, tiny")[2].splitlines() if line.startswith("VD-RNN"))
    assert f"{test_ppl:.1f}" in row.split()
    assert f"{num_params(config):,}" in report
