import pytest

from trainables.storage import StorageError, default_storage, delete, is_remote, open_storage, read_bytes, write_bytes


def test_bytes_come_back_and_go(tmp_path):
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
