"""The same code on an object store: a local S3 server stands in for the real one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from study.cell_search import CellSearch
from study.ledger import Ledger
from study.records import StorageError, read_table
from tests.study.helpers import make_spec, run_all
from trainables.checkpoint import CheckpointFolder
from trainables.storage import open_storage, read_bytes, write_bytes

moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A new bucket as a storage URI."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"b{abs(hash(request.node.name)) % 10**8}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}/studies?region=us-east-1&endpoint_override={quote(endpoint, safe='')}"


def open_cell(storage: str, journal) -> CellSearch:
    spec = make_spec(num_samples=5, num_seeds=1)
    return CellSearch(Ledger(spec, storage), journal / f"{spec.name}.journal")


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
    whole = open_cell(str(tmp_path / "local"), tmp_path / "a")
    run_all(whole)
    run_all(open_cell(bucket, tmp_path / "b"), stop_after=17)
    run_all(open_cell(bucket, tmp_path / "c"))  # a new machine: the journal of the first is lost with it

    def rows(storage: str) -> list[tuple]:
        table = read_table(storage, "epochs")
        return sorted(zip(*(table[c].to_pylist() for c in ("trial_id", "epoch", "valid_ppl")), strict=True))

    assert rows(bucket) == rows(str(tmp_path / "local"))


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(bucket: str) -> None:
    fs, root = open_storage(bucket.replace("s3://b", "s3://c"))
    with pytest.raises(StorageError, match="cannot write c"):
        write_bytes(fs, f"{root}/x", b"")
