"""The real command on the toy corpus: Table 1, then what goes on from its studies, each rendered at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from study.records.records import read_table
from study.records.trials import SEARCH_BLOCKS
from tests.support.processes import Machine, machine

SETTINGS = ("--size", "tiny", "--corpus", "toy", "--max-epochs", "2", "--seeds", "2", "--gpus-per-trial", "0")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Iterator[Machine]:
    """A machine whose commands start in a folder of their own: the report is written where it is called."""
    with pytest.MonkeyPatch.context() as patch, machine() as one:
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.setenv("PYTHONPATH", str(repo_root))
        yield one


@pytest.fixture(scope="module")
def table1(here: Machine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    storage = tmp_path_factory.mktemp("storage") / "results"
    return storage, here.run(*command(storage, "table1", "--num-samples", "2"), timeout=900)


def command(storage: Path, target: str, *more: str) -> tuple[str, ...]:
    return ("study.reproduce", target, *SETTINGS, *more, "--storage", str(storage))


def rows(storage: Path, table: str) -> pd.DataFrame:
    return read_table(str(storage), table).to_pandas()


def test_table_1_runs_the_four_variants_and_renders_itself(table1: tuple[Path, str]) -> None:
    storage, output = table1
    trials = rows(storage, "trials")
    searched, confirmed = trials[trials["block"].isin(SEARCH_BLOCKS)], trials[trials["block"] == "confirm"]
    assert searched.groupby("variant").size().to_dict() == {"baseline": 2, "al": 2, "re": 2, "real": 2}
    assert confirmed[confirmed["origin"] == "paper"].groupby("variant").size().unique().tolist() == [2]
    assert (confirmed["status"] == "complete").all()
    assert f"$ python -m analysis.report --results {storage} --only table1" in output
    report = output.rpartition("--only table1")[2]
    assert all(label in report for label in ("VD-LSTM+AL", "VD-LSTM+REAL"))
    assert "Table 4" not in report


def test_the_same_command_again_only_renders(table1: tuple[Path, str], here: Machine) -> None:
    storage, _ = table1
    before = rows(storage, "runs")
    here.run(*command(storage, "table1", "--num-samples", "2"), timeout=300)
    assert len(rows(storage, "runs")) == len(before)


def test_table_4_goes_on_from_figure_2(table1: tuple[Path, str], here: Machine) -> None:
    """Its studies are those of Figure 2, whose best weights are there: nothing is trained, the phrases are added."""
    storage, _ = table1
    here.run(*command(storage, "figure2"), timeout=600)
    before = rows(storage, "epochs")
    output = here.run(*command(storage, "table4", "--phrase", "a0 b1 + c0"), timeout=300)
    assert len(rows(storage, "epochs")) == len(before)
    predictions, mass = rows(storage, "predictions"), rows(storage, "word_mass")
    keys = [(v, seed) for v in ("baseline", "real") for seed in (101, 102)]
    assert sorted(predictions.groupby(["variant", "seed"]).groups) == keys
    assert sorted(mass.groupby(["variant", "seed"]).groups) == keys
    assert predictions.groupby(["variant", "seed"])["rank"].agg(list).map(sorted).map(len).unique().tolist() == [10]
    assert mass["num_positions"].unique().tolist() == [8014]
    assert f"--results {storage} --only table4,word_mass" in output
    again = here.run(*command(storage, "table4", "--phrase", "d0"), timeout=300)
    assert again.count(": 1 phrase\n") == 4
    pd.testing.assert_frame_equal(rows(storage, "word_mass"), mass)
    assert set(rows(storage, "predictions")["phrase"]) == {"a0 b1", "d0"}


def test_footnote_4_trains_a_second_session_after_the_same_first_one(table1: tuple[Path, str], here: Machine) -> None:
    storage, _ = table1
    here.run(*command(storage, "figure2"), timeout=600)
    output = here.run(*command(storage, "footnote4"), timeout=900)
    assert f"--results {storage} --only footnote4" in output
    trials, epochs = rows(storage, "trials"), rows(storage, "epochs")
    second = trials[trials["second_session_epoch"].notna()]
    assert second["block"].value_counts().to_dict() == {"confirm": 8}
    assert set(second["second_session_epoch"]) == {3}
    assert set(second["max_epochs"]) == {4}
    assert (second["status"] == "complete").all()
    evaluations = rows(storage, "evaluations")
    assert set(second["trial_id"]) == set(evaluations.loc[evaluations["study"].isin(second["study"]), "trial_id"])
    assert set(evaluations["split"]) == {"valid", "test"}
    keys = ["variant", "trial_id", "epoch"]
    epochs = epochs[epochs["study"].str.contains("-recipe-")].set_index(keys)
    is_second = epochs["study"].isin(second["study"])
    one, two = (epochs[rows].sort_index()["valid_ppl"] for rows in (~is_second, is_second))
    pd.testing.assert_series_equal(two[two.index.isin(one.index)], one)
    assert len(two) == 2 * len(one) == 32
    lr = epochs[is_second].groupby("epoch")["lr"].unique().map(list).to_dict()
    assert lr[3] == lr[1]
