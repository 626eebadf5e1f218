"""Launches the shipped cluster.yaml: the machines requested, workers that start with the trials and end when idle, a
sold-out pool, lost machines. One cluster for all scenarios; a study for each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud.cloud import IDLE_S, LAPTOP, STORAGE, Cloud, wait_for
from tests.cloud.cluster import PATIENCE_S, STUDY, Cluster, dump

pytestmark = pytest.mark.slow


def study(search_seed: int) -> str:
    """A study for a scenario. (The workers have GPUs on paper only, which rules tf32 out.)"""
    return f"{STUDY} --search-seed {search_seed} --gpus-per-trial 0.5 --precision fp32"


@pytest.fixture(scope="module")
def cluster(cloud: Cloud) -> Cluster:
    """The cluster of all scenarios."""
    return Cluster(cloud)


@pytest.fixture(autouse=True)
def _logs_of_a_failure(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[None]:
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(dump(cluster))


def check_as_written(instance: dict[str, Any], config: dict[str, Any]) -> None:
    """Asserts that an instance is as cluster.yaml describes its type."""
    name = instance["Tags"]["ray-user-node-type"]
    asked = config["available_node_types"][name]["node_config"]
    assert instance["InstanceType"] == asked["InstanceType"]
    assert (instance.get("InstanceLifecycle") == "spot") == ("InstanceMarketOptions" in asked) == (name != "head")
    assert instance["IamInstanceProfile"]["Arn"].endswith("/" + asked["IamInstanceProfile"]["Name"])
    assert instance["MetadataOptions"]["HttpTokens"] == asked["MetadataOptions"]["HttpTokens"] == "required"
    (disk,) = asked["BlockDeviceMappings"]
    (mapped,) = instance["BlockDeviceMappings"]
    (volume,) = instance["Volumes"]
    assert mapped["DeviceName"] == disk["DeviceName"]
    assert mapped["Ebs"]["DeleteOnTermination"] is True
    assert (volume["Size"], volume["VolumeType"]) == (disk["Ebs"]["VolumeSize"], disk["Ebs"]["VolumeType"])
    tags = {s["ResourceType"]: {t["Key"]: t["Value"] for t in s["Tags"]} for s in asked["TagSpecifications"]}
    assert tags["instance"].items() <= instance["Tags"].items()
    assert tags["volume"].items() <= {t["Key"]: t["Value"] for t in volume["Tags"]}.items()
    assert instance["Tags"]["ray-cluster-name"] == config["cluster_name"]


def test_up_starts_the_head_and_nothing_else(cluster: Cluster, repo_root: Path) -> None:
    config = yaml.safe_load((repo_root / "cluster.yaml").read_text("utf-8"))
    (head,) = cluster.cloud.instances()
    assert head["Tags"]["ray-user-node-type"] == "head"
    check_as_written(head, config)
    groups = cluster.cloud.ask("security_groups", [group["GroupId"] for group in head["SecurityGroups"]])
    rules = [rule for group in groups for rule in group["IpPermissions"]]
    world = {(r["FromPort"], r["ToPort"]) for r in rules if any(i["CidrIp"] == "0.0.0.0/0" for i in r["IpRanges"])}
    assert world == {(22, 22)}
    # The dashboard is not reachable from the network.
    listening = cluster.cloud.on(head["InstanceId"], "ss -tlnH").stdout
    assert "127.0.0.1:8265" in listening
    assert "0.0.0.0:8265" not in listening
    assert "*:8265" not in listening


def test_trials_start_workers_of_the_pool_that_has_some(cluster: Cluster, repo_root: Path) -> None:
    """The pool that is tried first is sold out: the other gives a worker."""
    config = yaml.safe_load((repo_root / "cluster.yaml").read_text("utf-8"))
    cluster.cloud.dry("g6.xlarge")
    job = cluster.study(study(1))
    worker = wait_for(lambda: cluster.cloud.instances("worker"), "worker", seconds=60)[0]
    assert cluster.cloud.events("refused", job.started), "the sold out pool was not asked first: nothing was shown"
    assert worker["Tags"]["ray-user-node-type"] == "gpu_a10g"
    check_as_written(worker, config)
    # Another `ray up` brings the head up to date, and leaves the study alone.
    cluster.wait_for_epochs(1, 1, job)
    (driver,) = job.processes()
    cluster.up("--no-restart")
    assert job.processes() in ([driver], [])
    job.wait()
    trials = cluster.check_complete(1)
    assert {trial["attempt"] for trial in trials} == {1}


def test_the_setup_commands_can_be_run_again(cluster: Cluster) -> None:
    """As `ray up` does when one of them has changed."""
    config = yaml.safe_load(cluster.cloud.laptop("cat cluster.yaml"))
    facts = "cat ~/.bashrc ~/.vdlstm; pip list"
    before = cluster.cloud.on(cluster.head(), facts).stdout
    for command in config["setup_commands"]:
        done = cluster.cloud.on(cluster.head(), command)
        assert done.returncode == 0, done.stdout
    assert cluster.cloud.on(cluster.head(), facts).stdout == before


def test_a_study_survives_the_loss_of_a_spot_worker(cluster: Cluster) -> None:
    """Its pool is sold out from then on: the other one replaces it."""
    job = cluster.study(study(2))
    cluster.wait_for_epochs(2, 2, job)
    lost = cluster.workers()
    assert lost
    cluster.cloud.dry("g5.xlarge")
    for worker in lost:
        cluster.cloud.ask("terminate", worker)
    wait_for(lambda: cluster.workers("gpu_l4"), "worker of the other pool", seconds=PATIENCE_S)
    job.wait()
    trials = cluster.check_complete(2)
    assert max(trial["attempt"] for trial in trials) > 1, "no trial was interrupted: nothing was shown"


def test_a_study_survives_a_storage_that_refuses_writes(cluster: Cluster) -> None:
    job = cluster.study(study(3))
    cluster.wait_for_epochs(3, 2, job)
    with cluster.cloud.refusing_writes():
        time.sleep(25)  # four times as long as pyarrow tries by itself
    assert cluster.cloud.events("write refused", job.started)
    assert job.processes(), "the study ended before it could write again"
    job.wait()
    cluster.check_complete(3)


def test_a_second_driver_is_refused_and_a_dead_one_replaced(cluster: Cluster) -> None:
    command = f"{study(4)} --max-epochs 40"  # it must not end while the second one looks
    job = cluster.study(command)
    cluster.wait_for_epochs(4, 1, job)
    (driver,) = job.processes()
    elsewhere = command.replace("--address auto ", "").replace("--gpus-per-trial 0.5", "--gpus-per-trial 0")
    second = cluster.cloud.on(LAPTOP, f"{elsewhere} --storage {STORAGE}", timeout=120)
    assert second.returncode == 1, second.stdout
    assert f"is being run by process {driver} on " in " ".join(second.stdout.split())
    job.kill()
    again = cluster.study(command)
    again.wait()
    cluster.check_complete(4)
    assert len(cluster.rows("runs", 4)) == 2
    # From a machine that is no part of the cluster:
    status = cluster.cloud.on(LAPTOP, f"python -m study.status --storage {STORAGE}", timeout=60)
    assert "finished" in status.stdout, status.stdout
    report = cluster.cloud.on(
        LAPTOP, f"python -m analysis.report --results {STORAGE} --out /tmp/report --only table1", timeout=120
    )
    assert "VD-LSTM+REAL" in report.stdout, report.stdout


def test_a_study_survives_the_loss_of_the_head(cluster: Cluster) -> None:
    """Another `ray up` and the same command: the workers of the lost cluster join the new one."""
    job = cluster.study(study(5))
    cluster.wait_for_epochs(5, 2, job)
    workers, lost = cluster.workers(), cluster.head()
    assert workers
    cluster.cloud.ask("terminate", lost)
    cluster.up()
    assert cluster.head() != lost
    assert set(workers) <= set(cluster.workers())
    cluster.study(study(5)).wait()
    trials = cluster.check_complete(5)
    assert max(trial["attempt"] for trial in trials) > 1, "no trial was interrupted: nothing was shown"
    joined = cluster.cloud.laptop("ray exec cluster.yaml 'ray status' 2>&1")
    assert "gpu_" in joined.partition("Active:")[2].partition("Pending:")[0]


def test_idle_workers_end(cluster: Cluster) -> None:
    assert cluster.workers()
    # On a machine that runs other tests too, the check of the workers and their end take longer.
    wait_for(lambda: not cluster.workers(), "end of the idle workers", seconds=IDLE_S + 180)
    assert cluster.heads()


def test_down_leaves_nothing(cluster: Cluster) -> None:
    cluster.down()
    assert cluster.cloud.instances() == []
