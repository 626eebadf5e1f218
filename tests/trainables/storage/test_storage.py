import errno

import pytest

from trainables.storage.storage import (
    PATIENCE,
    StorageError,
    default_storage,
    delete,
    is_remote,
    open_storage,
    patiently,
    read_bytes,
    sweep,
    write_bytes,
)


def test_bytes_are_written_read_and_deleted(tmp_path):
    fs, root = open_storage(str(tmp_path / "new"))
    path = f"{root}/a/b.bin"
    assert read_bytes(fs, path) is None
    write_bytes(fs, path, b"one")
    write_bytes(fs, path, b"two")
    assert read_bytes(fs, path) == b"two"
    delete(fs, path)
    delete(fs, path)
    assert read_bytes(fs, path) is None


@pytest.mark.parametrize("uri", ["gs://bucket/x", "http://host/x", "file:///x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(StorageError, match=r"must be a folder or an s3:// URI, got"):
        open_storage(uri)


def test_a_file_is_no_storage(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        open_storage(str(tmp_path / "results"))


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_path(tmp_path):
    (tmp_path / "file").write_text("")
    fs, root = open_storage(str(tmp_path))
    with pytest.raises(StorageError, match="cannot write .*x.bin"):
        write_bytes(fs, f"{root}/file/x.bin", b"")


def test_remote_is_told_from_local():
    assert is_remote("s3://bucket/study")
    assert not is_remote("results")


def test_the_default_storage_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("STUDY_STORAGE", raising=False)
    assert default_storage() == "results"
    monkeypatch.setenv("STUDY_STORAGE", "s3://bucket/study")
    assert default_storage() == "s3://bucket/study"


class Flaky:
    """An operation that fails a number of times."""

    def __init__(self, *errors: OSError) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def no_waiting(monkeypatch):
    """Waits are counted by a clock of their own instead of being slept through."""
    clock = [0.0]
    monkeypatch.setattr("trainables.storage.storage.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("trainables.storage.storage.time.sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    return clock


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ESTALE, "Stale file handle"),
        OSError("When uploading object: AWS Error SLOW_DOWN during PutObject operation: Reduce your request rate"),
        OSError(errno.EIO, "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7, Couldn't connect"),
    ],
)
def test_errors_that_may_pass_are_retried_and_logged_once(no_waiting, caplog, error):
    operation = Flaky(error, error, error)
    assert patiently("write", "x", operation) == "done"
    assert operation.calls == 4
    assert [record.message.split(",")[0].split(" after")[0] for record in caplog.records] == [
        "cannot write x", "write of x went through",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        NotADirectoryError(errno.ENOTDIR, "Not a directory"),
        OSError("AWS Error ACCESS_DENIED during PutObject operation: No response body"),
        OSError("AWS Error NO_SUCH_BUCKET during PutObject operation: The specified bucket does not exist"),
    ],
)
def test_final_errors_are_not_retried(no_waiting, error):
    operation = Flaky(error)
    with pytest.raises(StorageError, match="cannot write x"):
        patiently("write", "x", operation)
    assert operation.calls == 1


def test_retries_end_and_the_error_says_after_how_long(no_waiting, monkeypatch):
    monkeypatch.setenv(PATIENCE, "120")
    operation = Flaky(*[OSError(errno.ENOSPC, "No space left on device")] * 1000)
    with pytest.raises(StorageError, match=r"cannot write x, tried for 12\d s: .*No space left"):
        patiently("write", "x", operation)
    assert 120 <= no_waiting[0] < 121
    assert 8 <= operation.calls <= 40  # with growing pauses, and never none for long


@pytest.mark.parametrize("given", ["soon", "-1", "nan"])
def test_a_patience_that_is_no_number_is_refused(monkeypatch, given):
    monkeypatch.setenv(PATIENCE, given)
    with pytest.raises(StorageError, match="must be a number of seconds of at least 0"):
        patiently("write", "x", lambda: None)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    fs, root = open_storage(str(tmp_path))
    write_bytes(fs, f"{root}/x.pt", b"good")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainables.storage.storage.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_bytes(fs, f"{root}/x.pt", b"new", patience=0.0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x.pt": b"good"}


def test_temporary_files_of_killed_writers_are_deleted(tmp_path):
    fs, root = open_storage(str(tmp_path / "trial"))
    sweep(fs, root)  # there is nothing yet
    write_bytes(fs, f"{root}/last.pt", b"good")
    (tmp_path / "trial" / ".last.pt.17-ab12.tmp").write_bytes(b"hal")
    sweep(fs, root)
    assert [path.name for path in (tmp_path / "trial").iterdir()] == ["last.pt"]
