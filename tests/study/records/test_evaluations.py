"""Evaluations recorded by this version and by earlier ones, and by drivers that died."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.records.load import load_results
from analysis.records.trials import measured
from study.records.evaluations import SPLITS
from study.records.records import SCHEMAS, read_table
from study.search.ledger import Ledger
from study.search.setting_search import SettingSearch
from tests.support.keep_reference import keep
from tests.support.studies import EVALUATED, make_spec, open_setting, result

BUDGET: dict[str, Any] = {"num_samples": 0, "max_epochs": 2, "num_seeds": 3}
VALID, TEST = (("single_stream", split, "perplexity") for split in ("valid", "test"))


def rewrite_as_before(storage: Path, trial_id: str, ppl: dict[str, float] | None = None) -> None:
    """Makes a trial's records those of an earlier version: without evaluations and, if it has ended, with columns."""
    for path in (storage / "evaluations").rglob(f"{trial_id}.*.parquet"):
        path.unlink()
    (path,) = (storage / "trials").rglob(f"{trial_id}.*.parquet")
    (row,) = pq.ParquetFile(path).read().to_pylist()
    schema = pa.schema([*SCHEMAS["trials"], *((column, pa.float64()) for column in SPLITS)])
    pq.write_table(pa.Table.from_pylist([row | (ppl or {})], schema=schema), path)


def run_epochs(setting: SettingSearch, **last: Any) -> str:
    """Runs the next trial to its last epoch, without recording its end; returns its id."""
    trial = setting.next_trial()
    assert trial is not None
    setting.record(trial, result(trial, 1))
    setting.record(trial, result(trial, 2, **last))
    return trial.trial_id


def test_a_study_begun_by_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """One trial ended before, one had reported its last epoch and not ended, one is trained by this version."""
    before = open_setting(tmp_path, **BUDGET)
    ended = run_epochs(before)
    before.end(before.ledger.trials[ended])
    open_ = run_epochs(before, evaluations=None)
    before.ledger.records.flush()
    rewrite_as_before(tmp_path, ended, {"single_stream_valid_ppl": 51.0, "test_ppl": 50.0})
    rewrite_as_before(tmp_path, open_)

    setting = open_setting(tmp_path, **BUDGET)
    assert setting.ledger.trials[ended].evaluations == {VALID: 51.0, TEST: 50.0}
    trial = setting.next_trial()
    assert trial is setting.ledger.trials[open_]
    # The trial's checkpoint is of the earlier version, and with it the row of the last epoch that it reports again.
    assert not setting.record(trial, result(trial, 2, evaluations=None, single_stream_valid_ppl=61.0, test_ppl=60.0))
    setting.end(trial)
    new = run_epochs(setting)
    setting.end(setting.ledger.trials[new])
    setting.ledger.records.flush()

    found = {ended: (51.0, 50.0), open_: (61.0, 60.0), new: (41.0, 40.0)}
    keep(str(tmp_path), tmp_path / "kept")
    for storage in (str(tmp_path), str(tmp_path / "kept")):
        ledger = Ledger(make_spec(**BUDGET), storage)
        assert {t: (one.evaluations[VALID], one.evaluations[TEST]) for t, one in ledger.trials.items()} == found
        results = load_results([storage])
        values = zip(
            *(measured(results.evaluations, results.trials, split) for split in ("valid", "test")), strict=True
        )
        assert dict(zip(results.trials["trial_id"], values, strict=True)) == found
        rows = read_table(storage, "evaluations").to_pylist()
        assert {(r["study"], r["corpus"], r["size"], r["variant"]) for r in rows} == {
            (ledger.spec.name, *ledger.spec.setting)
        }
        assert {(r["seed"], r["epoch"], r["members"]) for r in rows} == {(101, 2, None), (102, 2, None), (103, 2, None)}
        assert all(isinstance(r["recorded_at"], dt.datetime) for r in rows)
    assert not list((tmp_path / "kept" / "trials").rglob("*test_ppl*"))
    assert "test_ppl" not in pq.read_schema(next((tmp_path / "kept" / "trials").rglob("*.parquet"))).names


def test_evaluations_are_on_record_before_the_epoch_that_brings_them(tmp_path: Path) -> None:
    setting = open_setting(tmp_path, **BUDGET)
    order: list[str] = []
    write = setting.ledger.records._write
    setting.ledger.records._write = lambda table, *rest: (order.append(table), write(table, *rest))  # type: ignore
    trial_id = run_epochs(setting)
    setting.end(setting.ledger.trials[trial_id])
    assert order[-3:] == ["evaluations", "epochs", "trials"]


def test_an_evaluation_that_is_reported_again_counts_once(tmp_path: Path) -> None:
    """The driver dies after the evaluations' row and before the epoch's: those of the next attempt count."""
    setting = open_setting(tmp_path, **BUDGET)
    trial_id = run_epochs(setting)
    setting.ledger.records.flush()
    (epochs,) = (tmp_path / "epochs").rglob(f"{trial_id}.*.parquet")
    rows = pq.ParquetFile(epochs).read()
    pq.write_table(rows.slice(0, 1), epochs)
    again = open_setting(tmp_path, **BUDGET)
    trial = again.next_trial()
    assert trial is not None
    assert (trial.trial_id, trial.num_epochs, trial.evaluations) == (trial_id, 1, {VALID: 41.0, TEST: 40.0})
    assert again.record(trial, result(trial, 2, evaluations=[{**e, "value": 39.0} for e in EVALUATED["evaluations"]]))
    again.end(trial)
    results = load_results([str(tmp_path)])
    assert len(read_table(str(tmp_path), "evaluations")) == 4
    assert results.evaluations[["split", "value", "attempt"]].to_numpy().tolist() == [
        ["test", 39.0, 2], ["valid", 39.0, 2],
    ]  # fmt: skip
    assert Ledger(again.spec, str(tmp_path)).trials[trial_id].evaluations == {VALID: 39.0, TEST: 39.0}
