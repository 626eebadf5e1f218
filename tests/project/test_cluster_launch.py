"""cluster.yaml against a fake EC2 (moto, in this process; no network): Ray's own code sets the cluster's network up and
starts one node of each type, up to the point where it would log in by ssh.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Config = dict[str, Any]


@pytest.fixture(scope="module")
def config(repo_root: Path) -> Config:
    """cluster.yaml as written."""
    return yaml.safe_load((repo_root / "cluster.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Config], Any]]:
    """A function that has Ray set up a config's network and start one node of each type in a fake region.

    It returns Ray's bootstrapped config, the instances by node type and the security groups.
    """
    boto3 = pytest.importorskip("boto3", reason="boto3 comes with the `test` extra")
    moto = pytest.importorskip("moto", reason="moto comes with the `test` extra")
    from moto.ec2.models import instance_types
    from ray.autoscaler._private.aws import utils
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

    home = str(tmp_path_factory.mktemp("home"))  # Ray writes the key pair and a cache of the config
    every_type = instance_types.InstanceTypeBackend.instance_types

    def run(config: Config) -> Any:
        wanted = {t["node_config"]["InstanceType"] for t in config["available_node_types"].values()}
        # moto takes many seconds to describe the 1,400 types that it knows
        patch.setattr(
            instance_types.InstanceTypeBackend, "instance_types", [t for t in every_type if t["InstanceType"] in wanted]
        )
        with moto.mock_aws():
            utils.resource_cache.cache_clear()
            utils.client_cache.cache_clear()
            boto3.client("iam").create_instance_profile(InstanceProfileName="vdlstm-study")
            ready = _bootstrap_config(copy.deepcopy(config), no_config_cache=True)
            provider = _get_node_provider(ready["provider"], ready["cluster_name"])
            for name, node_type in ready["available_node_types"].items():
                kind = "head" if name == ready["head_node_type"] else "worker"
                tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: name, TAG_RAY_LAUNCH_CONFIG: "x"}
                provider.create_node(copy.deepcopy(node_type["node_config"]), tags, 1)
            ec2 = boto3.client("ec2", ready["provider"]["region"])
            reservations = ec2.describe_instances()["Reservations"]
            instances = {
                next(t["Value"] for t in i["Tags"] if t["Key"] == TAG_RAY_USER_NODE_TYPE): i
                for reservation in reservations
                for i in reservation["Instances"]
            }
            subnets = {s["SubnetId"]: s["AvailabilityZone"] for s in ec2.describe_subnets()["Subnets"]}
            groups = ec2.describe_security_groups(GroupIds=[g["GroupId"] for g in instances["head"]["SecurityGroups"]])
        return ready, instances, subnets, groups["SecurityGroups"]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        fake = {"HOME": home, "TMPDIR": home, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        for name, value in {**fake, "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", home)
        yield run
    utils.resource_cache.cache_clear()
    utils.client_cache.cache_clear()


def test_ec2_is_asked_for_the_nodes_of_the_file(config: Config, launch: Callable[[Config], Any]) -> None:
    ready, instances, subnets, groups = launch(config)
    assert set(instances) == set(config["available_node_types"])
    for name, instance in instances.items():
        assert instance["InstanceType"] == config["available_node_types"][name]["node_config"]["InstanceType"]
        assert (instance.get("InstanceLifecycle") == "spot") == (name != "head"), name
        assert instance["IamInstanceProfile"]["Arn"].endswith("/vdlstm-study"), name
        assert instance["MetadataOptions"]["HttpTokens"] == "required", name
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert tags["project"] == "vdlstm-study", name
        assert tags["ray-cluster-name"] == config["cluster_name"], name
        zones = {subnets[s] for s in ready["available_node_types"][name]["node_config"]["SubnetIds"]}
        assert zones == set(subnets.values()), f"{name}: not every zone of the region would be tried"
    resources = {name: node_type["resources"] for name, node_type in ready["available_node_types"].items()}
    assert resources["head"]["CPU"] == 0
    assert {name: r.get("GPU", 0) for name, r in resources.items()} == {
        "head": 0, "gpu_a10g": 1, "gpu_l4": 1, "gpu_h100x8": 8,
    }  # fmt: skip
    open_ports = {
        (rule["FromPort"], rule["ToPort"])
        for group in groups
        for rule in group["IpPermissions"]
        if any(r["CidrIp"] == "0.0.0.0/0" for r in rule["IpRanges"])
    }
    assert open_ports == {(22, 22)}, "ssh alone may be open to the world"


def test_another_region_needs_one_edit(config: Config, launch: Callable[[Config], Any]) -> None:
    _, instances, _, _ = launch({**config, "provider": {**config["provider"], "region": "eu-central-1"}})
    assert {i["Placement"]["AvailabilityZone"][:-1] for i in instances.values()} == {"eu-central-1"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("InstanceType", "g5.huge", "required property"), ("IamInstanceProfile", {"Name": "missing"}, "missing")],
)
def test_a_planted_mistake_is_refused(
    config: Config, launch: Callable[[Config], Any], key: str, value: object, message: str
) -> None:
    broken = copy.deepcopy(config)
    broken["available_node_types"]["gpu_l4"]["node_config"][key] = value
    with pytest.raises(Exception, match=message):
        launch(broken)
