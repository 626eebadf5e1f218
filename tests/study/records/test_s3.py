"""The same code on an object store: a local S3 server stands in for the real one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow.fs as pafs
import pytest

import study.driver.lease
from study.driver.lease import Lease
from study.driver.ray_session import StudyError
from study.records.records import StorageError, read_table
from study.search.ledger import Ledger
from study.search.setting_search import SettingSearch
from tests.support.object_store import Store, serve
from tests.support.studies import make_spec, run_all
from trainables.storage.checkpoint import CheckpointFolder
from trainables.storage.storage import open_storage, read_bytes, write_bytes

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with serve() as store:
        yield store


@pytest.fixture
def store(server: Store) -> Iterator[Store]:
    yield server
    server.refuse = lambda method, query: False


@pytest.fixture
def bucket(server: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A new bucket as a storage URI."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"b{abs(hash(request.node.name)) % 10**8}"
    boto3.client("s3", endpoint_url=server.url, region_name="us-east-1").create_bucket(Bucket=name)
    return server.storage(name)


def open_setting(storage: str, journal) -> SettingSearch:
    spec = make_spec(num_samples=5, num_seeds=1)
    return SettingSearch(Ledger(spec, storage), journal / f"{spec.name}.journal")


def test_bytes_come_back_whole_and_go(bucket: str) -> None:
    fs, root = open_storage(bucket)
    path = f"{root}/a/b.bin"
    assert read_bytes(fs, path) is None
    write_bytes(fs, path, b"one")
    write_bytes(fs, path, b"two")
    assert read_bytes(fs, path) == b"two"


def test_checkpoints_live_there(bucket: str) -> None:
    folder = CheckpointFolder(bucket, "study", "trial")
    assert folder.load("last") is None
    folder.save("last", {"epoch": 1})
    assert folder.load("last") == {"epoch": 1}
    folder.delete("last")
    assert folder.load("last") is None


def test_a_study_resumes_on_another_machine(bucket: str, tmp_path) -> None:
    whole = open_setting(str(tmp_path / "local"), tmp_path / "a")
    run_all(whole)
    run_all(open_setting(bucket, tmp_path / "b"), stop_after=17)
    run_all(open_setting(bucket, tmp_path / "c"))  # a new machine: the journal of the first is lost with it

    def rows(storage: str) -> list[tuple]:
        table = read_table(storage, "epochs")
        return sorted(zip(*(table[c].to_pylist() for c in ("trial_id", "epoch", "valid_ppl")), strict=True))

    assert rows(bucket) == rows(str(tmp_path / "local"))


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(bucket: str) -> None:
    fs, root = open_storage(bucket.replace("s3://b", "s3://c"))
    with pytest.raises(StorageError, match="cannot write c"):
        write_bytes(fs, f"{root}/x", b"")


def test_a_store_that_asks_to_slow_down_is_waited_for(bucket: str, store: Store) -> None:
    fs, root = open_storage(bucket)
    store.refused, until = 0, time.monotonic() + 9  # longer than pyarrow tries by itself
    store.refuse = lambda method, query: method == "PUT" and time.monotonic() < until
    write_bytes(fs, f"{root}/x", b"one")
    assert store.refused
    assert read_bytes(fs, f"{root}/x") == b"one"


def test_a_large_object_that_cannot_be_written_leaves_the_old_one(bucket: str, store: Store) -> None:
    """pyarrow's stream puts an empty object when a multipart upload cannot be begun."""
    fs, root = open_storage(bucket)
    old, new = b"old" * (4 << 20), b"new" * (4 << 20)
    write_bytes(fs, f"{root}/last.pt", old)
    store.refuse = lambda method, query: method == "POST" and "uploads" in query
    with pytest.raises(StorageError, match="cannot write"):
        write_bytes(fs, f"{root}/last.pt", new, patience=0.0)
    assert read_bytes(fs, f"{root}/last.pt") == old
    store.refuse = lambda method, query: False
    write_bytes(fs, f"{root}/last.pt", new)
    assert read_bytes(fs, f"{root}/last.pt") == new
    names = [info.base_name for info in fs.get_file_info(pafs.FileSelector(root, recursive=True))]
    assert names == ["last.pt"]


def test_a_small_object_is_one_request(bucket: str, store: Store) -> None:
    fs, root = open_storage(bucket)
    asked: list[str] = []
    store.refuse = lambda method, query: asked.append(method) or False  # type: ignore[func-returns-value]
    write_bytes(fs, f"{root}/x", b"one")
    assert asked == ["PUT"]


def test_a_lease_on_an_object_store(bucket: str) -> None:
    quick = {"lease_s": 1.0, "renew_s": 0.2, "poll_s": 0.1, "settle_s": 0.1}
    first = Lease("s", bucket, **quick)
    first.acquire()
    with pytest.raises(StudyError, match="is being run by process"):
        Lease("s", bucket, **quick).acquire()
    first.release()
    second = Lease("s", bucket, **quick)
    second.acquire()
    second.check()
    second.release()


def test_of_two_that_both_believe_to_be_first_the_later_goes_on(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Lease("s", bucket, renew_s=3600.0, settle_s=0.1) for _ in range(2))
    first.acquire()
    read, looks = second._read, iter([None])  # it had looked before the first wrote
    monkeypatch.setattr(second, "_read", lambda **how: next(looks, "read") and read(**how))
    second.acquire()
    second.check()
    monkeypatch.setattr(study.driver.lease, "seconds_awake_or_not", lambda: 1e12)
    with pytest.raises(StudyError, match="taken over"):
        first.check()
