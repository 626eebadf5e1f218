"""No secret in a file, no code in a checkpoint, no access beyond the study's prefix."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
import torch

from study.driver.lease import Lease
from study.driver.run_log import RunLog
from study.records.provenance import provenance
from study.records.records import Records, read_table
from tests.support.object_store import Store, serve
from tests.support.studies import SETTING, open_setting, run_all
from trainables.storage.checkpoint import CheckpointError, CheckpointFolder
from trainables.storage.storage import StorageError, delete, open_storage, read_bytes, write_bytes

SECRET = "wJalrXUtnFEMI-not-a-real-key"


def sources(repo_root: Path) -> Iterator[tuple[Path, ast.AST]]:
    for package in ("trainables", "study", "analysis"):
        for path in sorted((repo_root / package).rglob("*.py")):
            yield path, ast.parse(path.read_text("utf-8"))


def test_no_variable_of_the_environment_gets_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "SOME_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    setting = open_setting(tmp_path)
    lease = Lease(setting.spec.name, str(tmp_path))
    lease.acquire()
    runs = RunLog([setting], provenance() | {"argv": "study.run"}, __import__("datetime").datetime.now())
    run_all(setting)
    runs.write("finished", ended=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_storage_with_credentials_in_it_is_refused_without_being_repeated() -> None:
    with pytest.raises(StorageError, match="must not carry credentials") as caught:
        open_storage(f"s3://AKIAEXAMPLE:{SECRET}@bucket/study")
    assert SECRET not in str(caught.value)


def test_every_checkpoint_is_loaded_as_data(repo_root: Path) -> None:
    found = 0
    for path, tree in sources(repo_root):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) == "torch.load":
                found += 1
                assert "weights_only=True" in ast.unparse(call), f"{path}:{call.lineno}"
    assert found >= 3


class Bomb:
    def __reduce__(self) -> Any:
        return (os.system, ("touch exploded",))


def test_a_checkpoint_that_carries_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = CheckpointFolder(str(tmp_path), "study", "trial")
    folder.save("last", {"rows": []})
    torch.save({"rows": [Bomb()]}, tmp_path / "checkpoints" / "study" / "trial" / "last.pt")
    with pytest.raises(CheckpointError, match="not a usable checkpoint"):
        folder.load("last")
    assert not (tmp_path / "exploded").exists()


def test_the_cluster_listens_to_itself_alone(repo_root: Path) -> None:
    text = (repo_root / "cluster.yaml").read_text("utf-8")
    (head,) = re.findall(r"ray start --head.*", text)
    assert "--dashboard-host=127.0.0.1" in head  # also the jobs' interface: reached through ssh
    assert "0.0.0.0" not in text


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with serve() as found:
        yield found


def policy_of(repo_root: Path) -> dict[str, Any]:
    """The policy of study/README.md for the study's bucket."""
    readme = (repo_root / "study" / "README.md").read_text("utf-8")
    (found,) = [block for block in re.findall(r"```json\n(.*?)```", readme, re.S) if "s3:PutObject" in block]
    return json.loads(found)


def test_the_readme_s_policy_lets_a_study_work_in_its_prefix_and_nowhere_else(
    repo_root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    requests = pytest.importorskip("requests", reason="comes with moto")
    policy = policy_of(repo_root)
    actions = {action for part in policy["Statement"] for action in [part["Action"]] if isinstance(action, str)}
    assert "*" not in "".join(sorted(actions | {a for part in policy["Statement"] for a in part["Action"]}))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "root")
    here: dict[str, Any] = {"endpoint_url": store.url, "region_name": "us-east-1"}
    for bucket in ("CHANGE-ME".lower(), "another"):
        boto3.client("s3", **here).create_bucket(Bucket=bucket)
    boto3.client("s3", **here).put_object(Bucket="another", Key="vdlstm-study/x", Body=b"theirs")
    iam = boto3.client("iam", **here)
    iam.create_user(UserName="node")
    document = json.dumps(policy).replace("CHANGE-ME", "change-me")
    iam.put_user_policy(UserName="node", PolicyName="bucket", PolicyDocument=document)
    key = iam.create_access_key(UserName="node")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    requests.post(f"{store.url}/moto-api/reset-auth", data=b"0", timeout=10)  # from now on policies count
    try:
        storage = store.storage("change-me", "vdlstm-study")
        fs, root = open_storage(storage)
        write_bytes(fs, f"{root}/small", b"x")
        write_bytes(fs, f"{root}/large.pt", b"x" * (12 << 20))
        assert read_bytes(fs, f"{root}/small") == b"x"
        assert read_bytes(fs, f"{root}/nothing") is None
        delete(fs, f"{root}/small")
        records = Records(storage, SETTING, "s")
        records.write("runs", "run", 1, [{"study": "s", "run": 1}])
        assert read_table(storage, "runs").num_rows == 1
        lease = Lease("s", storage, settle_s=0.1)
        lease.acquire()
        lease.release()
        for bucket, prefix in (("change-me", "elsewhere"), ("another", "vdlstm-study")):
            outside, path = open_storage(store.storage(bucket, prefix))
            with pytest.raises(StorageError, match=r"ACCESS_DENIED|AccessDenied"):
                write_bytes(outside, f"{path}/x", b"x", patience=0.0)
            with pytest.raises(StorageError):
                read_bytes(outside, f"{path}/x", patience=0.0)
        with pytest.raises(OSError, match="ACCESS_DENIED"):
            fs.get_file_info(pafs.FileSelector("another"))
    finally:
        requests.post(f"{store.url}/moto-api/reset-auth", data=str(sys.maxsize).encode(), timeout=10)
