"""The cloud's process: moto's EC2, IAM and S3, and a host for every instance that runs.

    unshare --net --mount --pid --fork ... python -m tests.cloud.server FOLDER cluster.yaml
    unshare --net --mount --pid --fork ... python -m tests.cloud.server FOLDER --machines 2

The second form has no cloud, but as many machines with the laptop's key, and a folder that all of them share.

It is the first process of its namespaces; when it ends, everything in them ends.
In FOLDER: ``ready`` once it answers, ``events.jsonl`` with the events, and two switches:
``dry`` (instance types without spot capacity, one a line) and ``refuse_writes`` (S3 answers 503 while it exists).
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.cloud.hosts import GATEWAY, Host, command, make_bridge

REGION = "us-west-2"
PORT = 5000
ENDPOINT = f"http://{GATEWAY}:{PORT}"
BUCKET = "study-bucket"
LAPTOP = "laptop"
LAPTOP_IP = "172.31.255.1"
SHARED = "/mnt/shared"
"""A folder that all hosts share, as if by NFS."""
_ACCOUNT = "123456789012"

# The machine image's part: the environment, credentials in place of the instance profile's, pip without an index (all
# packages are installed). The rest makes hosts cheap, as many share two cores.
BASHRC = f"""\
export PATH={sys.prefix}/bin:$PATH PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
export AWS_ENDPOINT_URL={ENDPOINT} AWS_DEFAULT_REGION={REGION} AWS_EC2_METADATA_DISABLED=true
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing
export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export RAY_USAGE_STATS_ENABLED=0 RAY_prestart_worker_first_driver=0
export AUTOSCALER_NODE_START_WAIT_S=60 AUTOSCALER_NODE_SSH_INTERVAL_S=1 AUTOSCALER_UPDATE_INTERVAL_S=2"""


def machine_ip(number: int) -> str:
    """The address of a machine that is no instance."""
    return f"172.31.0.{10 + number}"


class Cloud:
    """Hosts for moto's instances."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, Host] = {}
        self.host_key = folder / "host_key"

    def event(self, what: str, **facts: Any) -> None:
        """Logs an event."""
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps({"time": time.time(), "event": what, **facts}) + "\n")

    def lines(self, name: str) -> list[str]:
        """The lines of a switch."""
        try:
            return (self.folder / name).read_text().split()
        except FileNotFoundError:
            return []

    def boot(self, name: str, **options: Any) -> None:
        """Switches a host on."""
        folder = self.folder / "hosts" / name
        self.hosts[name] = Host.boot(name, folder, host_key=self.host_key, bashrc=BASHRC, **options)

    def reconcile(self) -> None:
        """Starts a host for each running instance, and switches off those of the others."""
        from moto.backends import get_backend

        backend = get_backend("ec2")[_ACCOUNT][REGION]
        for reservation in list(backend.reservations.values()):
            for instance in list(reservation.instances):
                if instance.state == "running" and instance.id not in self.hosts:
                    public = backend.key_pairs[instance.key_name].material_public
                    self.boot(
                        instance.id,
                        ip=instance.private_ip,
                        public_ip=instance.public_ip or "",
                        authorized_key=public.decode() if isinstance(public, bytes) else public,
                    )
                    self.event("on", id=instance.id, type=instance.instance_type)
                elif instance.state in ("terminated", "stopped") and instance.id in self.hosts:
                    self.hosts.pop(instance.id).switch_off()
                    self.event("off", id=instance.id, type=instance.instance_type)


def patch_moto(cloud: Cloud, instance_types: Iterable[str]) -> None:
    """Patches moto: spot types can be sold out, and only the cluster's instance types exist.

    moto takes many seconds to describe all of its 1,400 types.
    """
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models.instance_types import InstanceTypeBackend
    from moto.ec2.models.instances import InstanceBackend

    run_instances = InstanceBackend.run_instances

    def run_if_there_is_capacity(self: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.get("instance_type")
        if kwargs.get("instance_market_options") and wanted in cloud.lines("dry"):
            cloud.event("refused", type=wanted)
            raise EC2ClientError("InsufficientInstanceCapacity", f"there is no sufficient {wanted} capacity")
        return run_instances(self, *args, **kwargs)

    InstanceBackend.run_instances = run_if_there_is_capacity
    known = InstanceTypeBackend.instance_types
    InstanceTypeBackend.instance_types = [t for t in known if t["InstanceType"] in set(instance_types)]


def refusing(app: Callable[..., Any], cloud: Cloud) -> Callable[..., Any]:
    """Wraps the API to refuse writes to S3 while the switch is on."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        is_write = environ["REQUEST_METHOD"] != "GET" and environ["PATH_INFO"].startswith(f"/{BUCKET}/")
        if is_write and environ["REQUEST_METHOD"] != "HEAD" and (cloud.folder / "refuse_writes").exists():
            # The body must be read, or the next request on this connection would start in the middle of it.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            cloud.event("write refused", path=environ["PATH_INFO"])
            body = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Later, please.</Message></Error>"
            start_response("503 Slow Down", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
            return [body]
        return app(environ, start_response)

    return answer


def serve(cloud: Cloud) -> None:
    """Starts the API in a thread, with the bucket and the profile that the README tells a user to make."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = refusing(DomainDispatcherApplication(create_backend_app), cloud)
    server = make_server("0.0.0.0", PORT, app, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    access = {"endpoint_url": ENDPOINT, "aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": REGION}
    boto3.client("iam", **access).create_instance_profile(InstanceProfileName="vdlstm-study")
    location = {"LocationConstraint": REGION}
    boto3.client("s3", **access).create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)


def start(folder: Path) -> Cloud:
    """Prepares the hosts' folder and key, and the network."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as the first process of its namespace it has no default
    cloud = Cloud(folder)
    # In memory, and unmounted with this namespace. (An overlay's upper layer cannot be an overlay, as / in a container
    # is.)
    hosts = folder / "hosts"
    command(f"mkdir {hosts} && mount -t tmpfs -o size=8g tmpfs {hosts} && mkdir {hosts}/.shared")
    command(f"ssh-keygen -q -t ed25519 -N '' -f {cloud.host_key}")
    make_bridge()
    return cloud


def main(folder: Path, *arguments: str) -> None:
    """Serves until it is killed."""
    cloud = start(folder)
    cloud.boot(LAPTOP, ip=LAPTOP_IP, authorized_key="")
    if arguments[0] == "--machines":
        key = folder / "hosts" / LAPTOP / "root/home/ubuntu/.ssh/id_ed25519"
        command(f"mkdir -p {key.parent} && ssh-keygen -q -t ed25519 -N '' -f {key}")
        for number in range(1, 1 + int(arguments[1])):
            cloud.boot(f"machine-{number}", ip=machine_ip(number), authorized_key=key.with_suffix(".pub").read_text())
        (folder / "ready").touch()
        signal.pause()
    patch_moto(cloud, re.findall(r"InstanceType: (\S+)", Path(arguments[0]).read_text("utf-8")))
    serve(cloud)
    (folder / "ready").touch()
    while True:
        cloud.reconcile()
        time.sleep(0.2)


if __name__ == "__main__":
    os.environ.pop("AWS_ENDPOINT_URL", None)
    main(Path(sys.argv[1]), *sys.argv[2:])
