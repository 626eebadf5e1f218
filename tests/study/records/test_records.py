import datetime as dt
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.records import records as module
from study.records.records import EPOCHS, SCHEMAS, TRIALS, Records, Setting, StorageError, read_table
from trainables.storage.storage import PATIENCE

SETTING = Setting("ptb", "small", "real")


@pytest.fixture
def records(tmp_path):
    return Records(str(tmp_path), SETTING, "real-small-ptb-0")


def epoch(number, **changes):
    return {"study": "real-small-ptb-0", "trial_id": "t", "attempt": 1, "epoch": number, "valid_ppl": 9.5} | changes


def test_the_layout_is_as_documented(records, tmp_path):
    records.write("epochs", "random-0001", 2, [epoch(1)])
    path = tmp_path / "epochs/corpus=ptb/size=small/variant=real/real-small-ptb-0/random-0001.a2.parquet"
    assert pq.read_schema(path).equals(EPOCHS)


def test_a_file_is_replaced_whole_and_nothing_else_is_left(records, tmp_path):
    records.write("epochs", "t", 1, [epoch(1)])
    records.write("epochs", "t", 1, [epoch(1), epoch(2)])
    assert [row["epoch"] for row in records.read("epochs")] == [1, 2]
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["t.a1.parquet"]


def test_a_failed_write_leaves_the_old_file_and_no_new_one(records, tmp_path, monkeypatch):
    records.write("epochs", "t", 1, [epoch(1)])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setenv(PATIENCE, "0")
    with pytest.raises(StorageError, match="No space left"):
        records.write("epochs", "t", 1, [epoch(1), epoch(2)])
    assert [row["epoch"] for row in records.read("epochs")] == [1]
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def test_a_column_that_the_table_lacks_is_refused(records):
    for write in (records.write, records.write_behind):
        with pytest.raises(KeyError, match="perplexity"):
            write("epochs", "t", 1, [epoch(1, perplexity=3.0)])


def test_columns_missing_in_the_first_file_survive_in_the_rest(records, tmp_path):
    other = Records(str(tmp_path), SETTING._replace(variant="al"), "al-small-ptb-0")
    other.write("trials", "a", 1, [{"study": "al-small-ptb-0", "trial_id": "a", "attempt": 1, "tau": 20.0}])
    records.write("trials", "b", 1, [{"study": "real-small-ptb-0", "trial_id": "b", "attempt": 1}])
    table = read_table(str(tmp_path), "trials")
    assert dict(zip(table["variant"].to_pylist(), table["tau"].to_pylist(), strict=True)) == {"al": 20.0, "real": None}
    assert table.schema.names == [*TRIALS.names, "corpus", "size", "variant"]


def test_a_new_attempt_replaces_a_trials_row(records, tmp_path):
    for attempt in (1, 2):
        records.write("trials", "t", attempt, [{"trial_id": "t", "attempt": attempt}])
    assert [row["attempt"] for row in records.read("trials")] == [2]
    assert records.attempts("trials") == {"t": 2}
    assert read_table(str(tmp_path), "trials").num_rows == 1


def test_a_crash_before_the_old_row_is_deleted_shows_one_trial(records, monkeypatch):
    records.write("trials", "t", 1, [{"trial_id": "t", "attempt": 1}])
    monkeypatch.setattr("study.records.records.delete", lambda *_: None)
    records.write("trials", "t", 2, [{"trial_id": "t", "attempt": 2}])
    assert [row["attempt"] for row in records.read("trials")] == [2]


def test_earlier_attempts_keep_their_epochs(records):
    records.write("epochs", "t", 1, [epoch(1)])
    records.write("epochs", "t", 2, [epoch(2, attempt=2)])
    assert sorted(row["epoch"] for row in records.read("epochs")) == [1, 2]


def test_times_come_back_in_utc(records):
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    records.write("runs", "run", 1, [{"study": "s", "run": 1, "started_at": now}])
    assert records.read("runs")[0]["started_at"] == now


@pytest.mark.parametrize(("table", "schema"), sorted(SCHEMAS.items()))
def test_an_empty_storage_reads_as_an_empty_table(tmp_path, table, schema):
    empty = read_table(str(tmp_path / "nothing"), table)
    assert empty.num_rows == 0
    assert empty.schema.names == [*schema.names, "corpus", "size", "variant"]


def test_half_a_file_at_a_temporary_name_is_not_read(records, tmp_path):
    records.write("epochs", "t", 1, [epoch(1)])
    folder = tmp_path / "epochs/corpus=ptb/size=small/variant=real/real-small-ptb-0"
    (folder / ".t.a1.parquet.77.tmp").write_bytes(b"PAR1 half")
    assert len(records.read("epochs")) == 1
    assert records.attempts("epochs") == {"t": 1}


def test_a_broken_file_is_an_error_that_names_it(records, tmp_path):
    records.write("epochs", "t", 1, [epoch(1)])
    path = next(tmp_path.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match="epochs"):
        read_table(str(tmp_path), "epochs")


def test_queued_writes_of_a_name_keep_their_order(records, monkeypatch):
    order, begun, gate = [], threading.Event(), threading.Event()

    def write(self, table, name, attempt, rows):
        if table == "epochs":
            begun.set()
            assert gate.wait(10)
        order.append((table, [row["epoch"] for row in rows if "epoch" in row]))

    monkeypatch.setattr(Records, "_write", write)
    rows = [epoch(1)]
    records.write_behind("epochs", "t", 1, rows)
    assert begun.wait(10)
    rows.append(epoch(2))  # the writer has a copy of its own
    records.queue.submit("t", "delete", lambda: order.append(("delete", [])))
    threading.Timer(0.05, gate.set).start()
    records.write("trials", "t", 1, [{"trial_id": "t"}])
    assert order == [("epochs", [1]), ("delete", []), ("trials", [])]


def test_queued_rows_are_read_too(records):
    for number in range(1, 6):
        records.write_behind("epochs", "t", 1, [epoch(e) for e in range(1, number + 1)])
    assert [row["epoch"] for row in records.read("epochs")] == [1, 2, 3, 4, 5]
    assert records.attempts("epochs") == {"t": 1}


def test_a_failed_queued_write_is_raised_by_every_later_call(records, tmp_path, monkeypatch):
    monkeypatch.setenv(PATIENCE, "0")
    (tmp_path / "epochs").touch()  # a file where a folder must be
    records.write_behind("epochs", "t", 1, [epoch(1)])
    with pytest.raises(StorageError, match="cannot write"):
        records.flush("t")
    for call in (records.queue.check, lambda: records.write("trials", "t", 1, [{"trial_id": "t"}])):
        with pytest.raises(StorageError, match="cannot write"):
            call()
    assert not (tmp_path / "trials").exists()


@pytest.mark.parametrize("num_torn", [1, 4, 5])
def test_a_file_that_was_replaced_while_it_was_read_is_read_again(records, monkeypatch, num_torn):
    """An object store may give the new content with the old size; a file that stays unreadable is an error."""
    records.write("trials", "a", 1, [{"trial_id": "a", "lr": 1.0}])
    read, torn = module._read_files, iter(range(num_torn))

    def torn_at_first(fs, paths):
        if next(torn, None) is not None:
            raise pa.ArrowInvalid("Parquet magic bytes not found in footer")
        return read(fs, paths)

    monkeypatch.setattr(module, "_read_files", torn_at_first)
    if num_torn < 5:
        assert [row["trial_id"] for row in records.read("trials")] == ["a"]
    else:
        with pytest.raises(StorageError, match="magic bytes"):
            records.read("trials")
