"""Runs on the cloud's laptop and calls functions for a test: EC2's instances, jobs, records.

One process serves all calls, as starting Python and its imports takes seconds. A line of JSON in,
``[name, arguments]``; a line of JSON out.
"""

from __future__ import annotations

import json
import sys
import traceback
import urllib.request
from typing import Any

import boto3

from study.records.records import read_table


def instances() -> list[dict[str, Any]]:
    """All EC2 instances, with their volumes."""
    ec2 = boto3.client("ec2")
    found = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    for instance in found:
        instance["Tags"] = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
        mapped = [m["Ebs"]["VolumeId"] for m in instance.get("BlockDeviceMappings", ())]
        running = instance["State"]["Name"] == "running"
        instance["Volumes"] = ec2.describe_volumes(VolumeIds=mapped)["Volumes"] if mapped and running else []
    return found


def security_groups(ids: list[str]) -> list[dict[str, Any]]:
    """Security groups by id."""
    return boto3.client("ec2").describe_security_groups(GroupIds=ids)["SecurityGroups"]


def terminate(instance: str) -> None:
    """Terminates an instance."""
    boto3.client("ec2").terminate_instances(InstanceIds=[instance])


def rows(storage: str, table: str) -> list[dict[str, Any]]:
    """The rows of a table of records."""
    return read_table(storage, table).to_pylist()


def job(name: str, what: str) -> dict[str, Any]:
    """A job's state (``what`` is ``""``) or output (``/logs``), from the dashboard. The tunnel must be open."""
    with urllib.request.urlopen(f"http://localhost:8265/api/jobs/{name}{what}", timeout=20) as answer:
        return json.load(answer)


def main() -> None:
    """Serves until the input ends."""
    functions = {f.__name__: f for f in (instances, security_groups, terminate, rows, job)}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"result": functions[name](*arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
