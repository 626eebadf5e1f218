"""Records to frames: latest attempts, unique epochs, several storages, and folders at every stage."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from analysis.records.load import empty_frame, load_results
from study.records.records import EPOCHS, RUNS, SCHEMAS, TRIALS, Records, Setting, StorageError
from tests.support.synthetic import EPOCH_S, START, write_run, write_trial

SETTING = Setting("ptb", "small", "real")


def test_an_empty_or_absent_storage_has_all_columns(tmp_path: Path) -> None:
    for storages in ([tmp_path], [tmp_path / "absent"], [tmp_path, tmp_path / "absent"]):
        results = load_results([str(s) for s in storages])
        assert results.is_empty
        for frame, schema in ((results.trials, TRIALS), (results.epochs, EPOCHS), (results.runs, RUNS)):
            assert frame.empty
            assert {*schema.names, "corpus", "size", "variant", "storage"} <= set(frame.columns)


def test_a_file_as_storage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be a folder"):
        load_results([str(tmp_path / "file")])


def test_the_latest_attempt_stands_and_earlier_epochs_are_kept(tmp_path: Path) -> None:
    storage = str(tmp_path)
    write_trial(storage, SETTING, "s", "tpe-0001", [300.0, 200.0], status="interrupted")
    write_trial(storage, SETTING, "s", "tpe-0001", [150.0, 160.0], attempt=2, first_epoch=3)
    results = load_results([storage])
    assert list(results.trials["attempt"]) == [2]
    assert list(results.epochs["epoch"]) == [1, 2, 3, 4]
    assert list(results.epochs["valid_ppl"]) == [300.0, 200.0, 150.0, 160.0]


def test_a_row_left_over_from_an_earlier_attempt_does_not_count(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [80.0], attempt=2)
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [], status="pruned", attempt=1)
    assert list(load_results([str(tmp_path)]).trials["status"]) == ["complete"]


def test_epochs_of_an_attempt_that_was_begun_again_are_superseded(tmp_path: Path) -> None:
    storage = str(tmp_path)
    write_trial(storage, SETTING, "s", "tpe-0001", [300.0, 200.0, 190.0, 180.0], status="interrupted")
    write_trial(storage, SETTING, "s", "tpe-0001", [150.0], status="interrupted", attempt=2, first_epoch=3)
    write_trial(storage, SETTING, "s", "tpe-0001", [140.0], status="interrupted", attempt=3, first_epoch=4)
    epochs = load_results([storage]).epochs
    assert list(zip(epochs["epoch"], epochs["valid_ppl"], epochs["attempt"], strict=True)) == [
        (1, 300.0, 1), (2, 200.0, 1), (3, 150.0, 2), (4, 140.0, 3),
    ]  # fmt: skip


def test_an_interrupted_trial_is_filled_from_its_epochs(tmp_path: Path) -> None:
    # Its row is as old as its start: what stands there is stale, not missing.
    stale = {"num_epochs": 0, "device_s": 0.0, "best_valid_ppl": 500.0}
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [300.0, 200.0, math.nan], status="interrupted", **stale)
    trial = load_results([str(tmp_path)]).trials.iloc[0]
    assert (trial["num_epochs"], trial["best_epoch"], trial["best_valid_ppl"]) == (3, 2, 200.0)
    assert trial["device_s"] == pytest.approx(3 * EPOCH_S)


def test_what_an_ended_trial_recorded_stands(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [300.0], best_valid_ppl=123.0, device_s=7.0)
    trial = load_results([str(tmp_path)]).trials.iloc[0]
    assert (trial["best_valid_ppl"], trial["device_s"]) == (123.0, 7.0)


def test_a_trial_without_an_epoch(tmp_path: Path) -> None:
    write_trial(str(tmp_path), SETTING, "s", "tpe-0001", [], status="interrupted")
    trial = load_results([str(tmp_path)]).trials.iloc[0]
    assert (trial["num_epochs"], trial["device_s"]) == (0, 0.0)
    assert math.isnan(trial["best_valid_ppl"])


def test_several_storages_are_joined_and_copies_count_once(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    write_run(one, SETTING, "s")
    write_run(two, SETTING, "s")
    write_run(two, SETTING, "s", run=2, started_at=START.replace(hour=20))
    write_trial(one, SETTING, "s", "tpe-0001", [300.0, 200.0])
    write_trial(two, SETTING, "s", "tpe-0001", [300.0], status="interrupted")  # the copy was taken while it ran
    write_trial(two, Setting("toy", "tiny", "re"), "t", "tpe-0001", [50.0])
    for storages in ([one, two], [two, one]):
        results = load_results(storages)
        assert list(results.runs["run"]) == [1, 2]
        trials = results.trials.set_index(["study", "trial_id"])["status"].to_dict()
        assert trials == {("s", "tpe-0001"): "complete", ("t", "tpe-0001"): "complete"}
        assert list(results.epochs["study"]) == ["s", "s", "t"]
        assert set(results.trials["corpus"]) == {"ptb", "toy"}


def write_subspace(storage: str, epochs: dict[int, float], *, attempt: int = 1) -> None:
    rows = [
        {"study": "f", "trial_id": "b1", "attempt": attempt, "epoch": epoch, "subspace_distance": distance}
        for epoch, distance in epochs.items()
    ]
    Records(storage, Setting("ptb", "figure1", "al"), "f").write("subspace", "b1", attempt, rows)


def test_the_subspace_experiment_has_each_epoch_once(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    write_subspace(one, {1: 0.9, 2: 0.8, 3: 0.7})
    write_subspace(one, {2: 0.5, 3: 0.4}, attempt=2)
    write_subspace(two, {1: 0.9, 2: 0.8})  # an older copy
    for storages in ([one, two], [two, one]):
        results = load_results(storages)
        assert list(results.subspace["subspace_distance"]) == [0.9, 0.5, 0.4]
        assert set(results.subspace["variant"]) == {"al"}
        assert not results.is_empty
        assert results.trials.empty


def write_words(storage: str, table: str, words: list[str], *, hour: int, phrase: str = "p", attempt: int = 1) -> None:
    at = START.replace(hour=hour)
    rows = [
        {"study": "s", "trial_id": "confirm-paper-s101", "attempt": attempt, "word": word, "recorded_at": at}
        | ({"phrase": phrase, "rank": i} if table == "predictions" else {"split": "test", "frequency_rank": i})
        for i, word in enumerate(words, start=1)
    ]
    name = "confirm-paper-s101" + (f"-{phrase}" if table == "predictions" else "")
    Records(storage, SETTING, "s").write(table, name, attempt, rows)


@pytest.mark.parametrize("table", ["predictions", "word_mass"])
def test_of_predictions_those_recorded_last_stand_alone(tmp_path: Path, table: str) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    write_words(one, table, ["the", "a", "of"], hour=1)
    write_words(one, table, ["the", "N"], hour=2, attempt=2)
    write_words(two, table, ["<unk>"], hour=3)  # a copy of the first attempt, recorded anew
    for storages in ([one, two], [two, one]):
        assert list(getattr(load_results(storages), table)["word"]) == ["the", "N"]


def test_another_phrase_is_kept_beside_the_first(tmp_path: Path) -> None:
    write_words(str(tmp_path), "predictions", ["the", "a"], hour=1, phrase="p")
    write_words(str(tmp_path), "predictions", ["of"], hour=2, phrase="q")
    found = load_results([str(tmp_path)]).predictions
    assert list(zip(found["phrase"], found["rank"], found["word"], strict=True)) == [
        ("p", 1, "the"), ("p", 2, "a"), ("q", 1, "of"),
    ]  # fmt: skip


def test_frames_that_are_not_given_are_empty_with_all_columns() -> None:
    for table in ("subspace", "predictions", "word_mass"):
        frame = empty_frame(table)
        assert frame.empty
        assert list(frame.columns) == [*SCHEMAS[table].names, "corpus", "size", "variant", "storage"]
