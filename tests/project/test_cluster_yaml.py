"""cluster.yaml, without a network or a Ray process: Ray's own validator accepts it, it follows this project's rules,
and EC2's parameter model knows every key of it. Each checker is shown planted mistakes that it must find.
"""

from __future__ import annotations

import copy
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Config = dict[str, Any]


SCORER = "study.driver.pools.score"
ONLY_V2 = {"priority", "idle_timeout_s"}


@pytest.fixture(scope="module")
def config(repo_root: Path) -> Config:
    """cluster.yaml as written."""
    return yaml.safe_load((repo_root / "cluster.yaml").read_text("utf-8"))


def schema_problems(config: Config) -> list[str]:
    """The errors and deprecation warnings of Ray's validator, which runs before any cloud is contacted."""
    from ray.autoscaler._private.cli_logger import cli_logger
    from ray.autoscaler._private.util import prepare_config, validate_config

    warnings: list[str] = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cli_logger, "warning", lambda text, *args, **_: warnings.append(text.format(*args)))
            prepared = prepare_config(copy.deepcopy(config))
            for node_type in prepared["available_node_types"].values():
                node_type.setdefault("resources", {})  # Ray fills these in from EC2 before it validates
            validate_config(prepared)
    except Exception as error:  # jsonschema.ValidationError, ValueError, KeyError, ...
        return [f"{type(error).__name__}: {error}"]
    return warnings


def rule_problems(config: Config) -> list[str]:
    """Violations of this project's rules, which Ray does not check."""
    found = []
    types = config["available_node_types"]
    head = config["head_node_type"]
    if "min_workers" in config:
        found.append("min_workers: Ray drops it at the top level")
    if config["provider"].get("cache_stopped_nodes") is not False:
        found.append("provider.cache_stopped_nodes must be false, or `ray down` leaves disks that cost")
    if "availability_zone" in config["provider"]:
        found.append("provider.availability_zone: leave it out, so that every zone of the region is tried")
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", config["provider"].get("region", "")):
        found.append(f"provider.region is not a region: {config['provider'].get('region')}")
    if types[head].get("resources", {}).get("CPU") != 0:
        found.append(f"{head}: resources.CPU must be 0, or trials run on the head")
    if types[head].get("max_workers") != 0:
        found.append(f"{head}: max_workers must be 0, or a second node of its type may start")
    if not any("--head" in command and "--num-cpus=0" in command for command in config["head_start_ray_commands"]):
        found.append("head_start_ray_commands: ray start --head needs --num-cpus=0, or trials run on the head")
    if not any("RAY_enable_autoscaler_v2=0" in command for command in config["head_start_ray_commands"]):
        found.append("head_start_ray_commands: autoscaler v2 never asks another pool when one is sold out")
    if not any(f"RAY_AUTOSCALER_UTILIZATION_SCORER={SCORER} " in c for c in config["head_start_ray_commands"]):
        found.append(f"head_start_ray_commands: autoscaler v1 asks a pool that is sold out again without {SCORER}")
    for name, node_type in types.items():
        found += [f"{name}: autoscaler v1 does not know {key}" for key in node_type.keys() & ONLY_V2]
        node = node_type["node_config"]
        spot = node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if spot and name == head:
            found.append(f"{name}: the head must be on demand: with it the study's driver would be lost")
        if not spot and name != head:
            found.append(f"{name}: workers must be spot")
        if node_type.get("min_workers", 0) != 0:
            found.append(f"{name}: min_workers must be 0, or GPUs cost without a study")
        if "Name" not in node.get("IamInstanceProfile", {}):
            found.append(f"{name}: needs an IamInstanceProfile: every node writes to the bucket")
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            found.append(f"{name}: MetadataOptions.HttpTokens must be required (IMDSv2)")
        if not node.get("ImageId"):
            found.append(f"{name}: needs an ImageId: Ray's default image is Ubuntu 18.04")
        volumes = [device["Ebs"] for device in node.get("BlockDeviceMappings", ())]
        if not volumes or any(v.get("VolumeSize", 0) < 100 or not v.get("DeleteOnTermination") for v in volumes):
            found.append(f"{name}: needs a disk of at least 100 GB that goes with the instance")
        tags = {s["ResourceType"]: {t["Key"] for t in s["Tags"]} for s in node.get("TagSpecifications", ())}
        if not all("project" in tags.get(resource, ()) for resource in ("instance", "volume")):
            found.append(f"{name}: instance and volume need the tag `project`")
    for key in ("ImageId", "IamInstanceProfile"):
        if len({str(node_type["node_config"].get(key)) for node_type in types.values()}) != 1:
            found.append(f"{key} must be the same on every node")
    if not any(remote.endswith("/project") for remote in config.get("file_mounts", {})):
        found.append("file_mounts: mount to ~/project; a ~/study would hide the package `study`")
    for commands in (config["setup_commands"], config["head_setup_commands"], config["worker_setup_commands"]):
        for command in commands:
            if ">>" in command and not re.search(r"grep -q .* \|\| .*>>", command):
                found.append(f"not safe to run twice (appends without a guard): {command}")
            if re.search(r"python3? -m venv|apt-get", command) and not re.match(r"test -x \S+ \|\| ", command):
                found.append(f"not safe to run twice (no `test -x ... ||` before it): {command}")
    return found


@functools.cache
def run_instances_shape() -> Any:
    """EC2's model of RunInstances, from botocore; no credentials, no network."""
    session = pytest.importorskip("botocore.session", reason="botocore comes with the `test` extra")
    return session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def ec2_problems(config: Config) -> list[str]:
    """Keys, types and enumerated values of each ``node_config`` that EC2 would refuse; Ray checks none of them."""
    shape = run_instances_shape()
    from botocore.validate import ParamValidator

    def enums(value: Any, shape: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key in value.keys() & getattr(shape, "members", {}).keys():
                yield from enums(value[key], shape.members[key], f"{path}.{key}")
        elif isinstance(value, list):
            for item in value:
                yield from enums(item, shape.member, path)
        elif getattr(shape, "enum", None) and value not in shape.enum:
            yield f"{path} is {value!r}, allowed are {', '.join(shape.enum)}"

    found = []
    for name, node_type in config["available_node_types"].items():
        node = node_type["node_config"]
        report = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
        if report.has_errors():
            found.append(f"{name}: {report.generate_report()}")
        found += enums(node, shape, name)
    return found


def planted(config: Config, path: str, value: Any) -> Config:
    """A copy of the config with the value at a dotted path set, or removed if ``value`` is ``...``."""
    mutated = yaml.safe_load(yaml.dump(config))
    *parents, last = path.split(".")
    node = functools.reduce(lambda node, key: node[key], parents, mutated)
    if value is ...:
        del node[last]
    else:
        node[last] = value
    assert mutated != config, "the planted mistake changes nothing"
    return mutated


def test_ray_accepts_it(config: Config) -> None:
    assert schema_problems(config) == []


def test_it_follows_the_rules(config: Config) -> None:
    assert rule_problems(config) == []


def test_ec2_knows_every_key(config: Config) -> None:
    assert ec2_problems(config) == []


GPU = "available_node_types.gpu_a10g"
HEAD = "available_node_types.head"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("idle_timeout", 5),
        ("worker_nodes", {"InstanceType": "g5.xlarge"}),
        ("head_node", {"InstanceType": "m5.large"}),
        ("initial_workers", 1),
        ("target_utilization_fraction", 0.8),
        ("worker_default_node_type", "gpu_l4"),
        ("autoscaling_mode", "default"),
        ("max_workers", "eight"),
        ("head_node_type", "hed"),
        ("provider.type", 3),
        (f"{GPU}.max_worker", 8),
        (f"{GPU}.min_workers", 9),
        (f"{HEAD}.resources", {"CPU": -1}),
    ],
)
def test_ray_refuses_a_planted_mistake(config: Config, path: str, value: Any) -> None:
    assert schema_problems(planted(config, path, value))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("min_workers", 1, "top level"),
        ("provider.cache_stopped_nodes", True, "cache_stopped_nodes"),
        ("provider.cache_stopped_nodes", ..., "cache_stopped_nodes"),
        ("provider.availability_zone", "us-west-2a", "every zone"),
        ("provider.region", "us-west-2a", "not a region"),
        ("provider.region", ..., "not a region"),
        (f"{HEAD}.resources", {}, "resources.CPU"),
        (f"{HEAD}.max_workers", 1, "second node"),
        (f"{HEAD}.node_config.InstanceMarketOptions", {"MarketType": "spot"}, "on demand"),
        (f"{GPU}.node_config.InstanceMarketOptions", ..., "gpu_a10g: workers must be spot"),
        (f"{GPU}.min_workers", 1, "min_workers must be 0"),
        (f"{GPU}.node_config.IamInstanceProfile", ..., "needs an IamInstanceProfile"),
        (f"{GPU}.node_config.IamInstanceProfile", {"Name": "other"}, "same on every node"),
        (f"{GPU}.node_config.MetadataOptions", {"HttpTokens": "optional"}, "IMDSv2"),
        (f"{GPU}.node_config.ImageId", ..., "needs an ImageId"),
        (f"{GPU}.node_config.ImageId", "ami-1", "same on every node"),
        (f"{GPU}.node_config.BlockDeviceMappings", [], "disk"),
        (f"{GPU}.node_config.TagSpecifications", [], "tag `project`"),
        ("head_start_ray_commands", ["ray start --head"], "--num-cpus=0"),
        ("head_start_ray_commands", ["ray start --head"], "autoscaler v2"),
        ("head_start_ray_commands", ["export RAY_enable_autoscaler_v2=0; ray start --head"], "again without"),
        (f"{GPU}.priority", 2, "does not know priority"),
        ("file_mounts", {"/home/ubuntu/study": "."}, "~/project"),
        ("setup_commands", ["echo x >> ~/.bashrc"], "appends without a guard"),
        ("setup_commands", ["python3 -m venv ~/env"], "test -x"),
        ("worker_setup_commands", ["sudo apt-get install -y rsync"], "test -x"),
    ],
)
def test_the_rules_find_a_planted_mistake(config: Config, path: str, value: Any, expected: str) -> None:
    found = rule_problems(planted(config, path, value))
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{GPU}.node_config.InstanceTypo", "g5.xlarge"),
        (f"{GPU}.node_config.InstanceType", "g5.xlarg"),
        (f"{GPU}.node_config.InstanceMarketOptions", {"MarketType": "spott"}),
        (f"{GPU}.node_config.MetadataOptions", {"HttpToken": "required"}),
        (f"{GPU}.node_config.BlockDeviceMappings", [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": "150"}}]),
        (f"{HEAD}.node_config.TagSpecifications", [{"ResourceType": "machine", "Tags": []}]),
    ],
)
def test_ec2_refuses_a_planted_mistake(config: Config, path: str, value: Any) -> None:
    assert ec2_problems(planted(config, path, value))


def test_the_ranking_of_pools_is_there(config: Config) -> None:
    from ray.autoscaler._private.loader import load_function_or_class

    assert callable(load_function_or_class(SCORER))


def test_it_names_the_ray_that_the_project_asks_for(repo_root: Path, config: Config) -> None:
    """The nodes' pinned release lies in the range of pyproject.toml, and is the one that runs these tests."""
    from packaging.requirements import Requirement

    project = tomllib.loads((repo_root / "pyproject.toml").read_text("utf-8"))["project"]
    asked = next(r for r in map(Requirement, project["dependencies"]) if r.name == "ray")
    pinned = re.findall(r"ray\[[a-z,]+\]==([0-9.]+)", " ".join(config["setup_commands"]))
    assert len(pinned) == 1
    assert asked.specifier.contains(pinned[0])
    assert "cluster" in project["optional-dependencies"]


def test_two_lines_are_to_be_edited(repo_root: Path) -> None:
    lines = (repo_root / "cluster.yaml").read_text("utf-8").splitlines()
    edits = [number for number, line in enumerate(lines) if re.search(r"# EDIT \d of 2", line)]
    assert len(edits) == 2
    assert "region:" in lines[edits[0]]
    assert "s3://CHANGE-ME/" in lines[edits[1] + 1]
    assert sum("CHANGE-ME" in line for line in lines) == 1


def test_its_storage_is_the_default_of_every_command(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.storage.storage import default_storage

    exported = re.findall(r"export (\w+)=(s3://[^' ]+)", " ".join(config["setup_commands"]))
    assert len(exported) == 1
    monkeypatch.setenv(*exported[0])
    assert default_storage() == exported[0][1]
