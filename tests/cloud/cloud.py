"""A test's side of the cloud: starts it, runs commands on its hosts, and ends it with everything in it."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.cloud.server import BUCKET, LAPTOP, REGION

_REPO = Path(__file__).resolve().parents[2]
_PREFIX = "vdcloud-"
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc")
_HOME = "/home/ubuntu"
IDLE_S = 20
"""Seconds after which the tests' cluster ends an idle worker."""
_AWS_FROM, _AWS_TO = "# ---- AWS, from here", "# ---- AWS, to here ----\n"
STORAGE = f"s3://{BUCKET}/vdlstm-study"
_COMMANDS = {
    "sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync", "ip": "iproute2", "unshare": "util-linux",
    "nsenter": "util-linux", "setpriv": "util-linux", "git": "git", "tar": "tar", "ps": "procps",
}  # fmt: skip
_MODULES = {"boto3": "cluster", "aiohttp": "cluster", "moto": "test", "flask": "test", "setuptools": "test"}
_PROBE = (
    "mount -t tmpfs tmpfs /mnt && mkdir /mnt/lower /mnt/upper /mnt/work && "
    "mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/lower && "
    "ip link add probe0 type bridge && ip link add probe1 type veth peer name probe2"
)


def why_not() -> str | None:
    """Why there can be no cloud on this machine, or None if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for the namespaces of its hosts"
    missing = {package for name, package in _COMMANDS.items() if not shutil.which(name, path="/usr/sbin:/usr/bin")}
    if missing:
        return f"needs the Debian packages {', '.join(sorted(missing))}"
    extras = {extra for module, extra in _MODULES.items() if importlib.util.find_spec(module) is None}
    if extras:
        return f"needs the extras {', '.join(sorted(extras))} (pip install -e '.[cluster,test]')"
    probe = ["unshare", *_NAMESPACES, "--fork", "sh", "-c", _PROBE]
    done = subprocess.run(probe, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return f"needs namespaces with a bridge and an overlay: {done.stdout.strip()}" if done.returncode else None


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float, every: float = 1.0) -> Any:
    """The first true value of a condition; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} in {seconds} s"
        time.sleep(every)
    return value


def remove_dead_folders() -> None:
    """Deletes the folders of killed runs, whose processes, mounts and links have ended with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


class Cloud:
    """A running cloud. Its processes are in namespaces of their own, and in no other.

    Args:
        machines: if not 0, start so many machines instead of a cloud.
    """

    def __init__(self, *, machines: int = 0) -> None:
        remove_dead_folders()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = (self.folder / "lock").open("a")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        what = ["--machines", str(machines)] if machines else [str(_REPO / "cluster.yaml")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RAY_", "STUDY_"))}
        with (self.folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES, "--fork", "--kill-child=KILL"),
                    *("--mount-proc", sys.executable, "-m", "tests.cloud.server"),
                    *(str(self.folder), *what),
                ],
                cwd=_REPO,
                env=environment | {"PYTHONPATH": str(_REPO), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._agent: subprocess.Popen[str] | None = None
        try:
            wait_for(self._is_ready, "answer of the fake cloud", seconds=60, every=0.1)
            children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children")
            self._pid = children.read_text().strip()
            wait_for(lambda: self.on(LAPTOP, "true").returncode == 0, "laptop", seconds=20, every=0.1)
            self._put_project()
        except BaseException:
            self.close()
            raise

    def _is_ready(self) -> bool:
        log = self.folder / "server.log"
        assert self._server.poll() is None, f"the fake cloud ended:\n{log.read_text()}"
        return (self.folder / "ready").exists()

    def close(self) -> None:
        """Ends everything that was started."""
        self._server.kill()
        self._server.wait()
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, host: str, line: str, **options: Any) -> subprocess.Popen[str]:
        """Starts a line of shell on a host: the laptop or an instance, by its id."""
        enter = ("-m", "-p", "-n", "-i", "-u")
        clean = f"env -i HOME={_HOME} USER=ubuntu LANG=C.UTF-8 TERM=dumb"
        inner = f'exec nsenter -t "$(cat {self.folder}/hosts/{host}/pid)" {" ".join(enter)} {clean} bash -c "$0"'
        there = f"set -e; cd {_HOME}; test -e /run/host/up; source .bashrc; [ ! -e .vdlstm ] || source .vdlstm"
        there += f"; [ ! -d project ] || cd project; {line}"
        return subprocess.Popen(
            ["nsenter", "-t", self._pid, *enter, "bash", "-c", inner, there],
            text=True,
            stdin=subprocess.DEVNULL if "stdin" not in options else options.pop("stdin"),
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.STDOUT),
            **options,
        )

    def on(self, host: str, line: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell on a host to its end, whatever that is."""
        process = self.start(host, line)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{line!r} took longer than {timeout} s\n{process.communicate()[0]}") from None
        return subprocess.CompletedProcess(line, process.returncode, output)

    def laptop(self, line: str, *, timeout: float = 60) -> str:
        """Runs a line of shell on the laptop, in the project's folder; fails with its output if it fails."""
        done = self.on(LAPTOP, line, timeout=timeout)
        assert done.returncode == 0, f"{line}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def _put_project(self) -> None:
        """Copies the checkout, as a clone of it would be, to the laptop, with cluster.yaml as its user edits it."""
        listing = ["git", "-C", str(_REPO), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0")
        names = [name for name in names if name and (_REPO / name).is_file()]
        pack = ["tar", "-C", str(_REPO), "--create", "--null", "--files-from=-", ".git"]
        source = subprocess.Popen(pack, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        target = self.start(LAPTOP, "mkdir project && tar -x -C project", stdin=source.stdout)
        assert source.stdin
        source.stdin.write("\0".join(names).encode())
        source.stdin.close()
        output, _ = target.communicate(timeout=60)
        assert target.returncode == 0, output
        assert source.wait() == 0, "tar failed"
        self.write_config(edited((_REPO / "cluster.yaml").read_text("utf-8"), region=REGION, bucket=BUCKET))

    def write_config(self, text: str, name: str = "cluster.yaml") -> None:
        """Writes a file into the laptop's project."""
        process = self.start(LAPTOP, f"cat > {name}", stdin=subprocess.PIPE)
        output, _ = process.communicate(text, timeout=30)
        assert process.returncode == 0, output

    def ask(self, name: str, *arguments: Any) -> Any:
        """Calls a function of tests/cloud/agent.py on the laptop."""
        if self._agent is None or self._agent.poll() is not None:
            self._agent = self.start(LAPTOP, "exec python -m tests.cloud.agent", stdin=subprocess.PIPE, stderr=None)
        assert self._agent.stdin
        assert self._agent.stdout
        self._agent.stdin.write(json.dumps([name, arguments]) + "\n")
        self._agent.stdin.flush()
        answer = json.loads(self._agent.stdout.readline() or '{"error": "the agent has ended"}')
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def instances(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Instances that run, of a node type of cluster.yaml, of ``head`` or ``worker``, or all."""
        running = [i for i in self.ask("instances") if i["State"]["Name"] in ("pending", "running")]
        tags = ("ray-node-type", "ray-user-node-type")
        return [i for i in running if kind is None or kind in {i["Tags"].get(tag) for tag in tags}]

    def events(self, what: str, since: float = 0.0) -> list[dict[str, Any]]:
        """The cloud's events of one kind (see tests/cloud/server.py)."""
        with contextlib.suppress(FileNotFoundError):
            noted = map(json.loads, (self.folder / "events.jsonl").read_text().splitlines())
            return [event for event in noted if event["event"] == what and event["time"] >= since]
        return []

    def dry(self, *instance_types: str) -> None:
        """From now on EC2 has no spot capacity of these types."""
        (self.folder / "dry").write_text("\n".join(instance_types))

    @contextlib.contextmanager
    def refusing_writes(self) -> Iterator[None]:
        """S3 refuses writes meanwhile."""
        switch = self.folder / "refuse_writes"
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()

    def logs(self, host: str) -> str:
        """The end of the autoscaler's logs on a host."""
        return self.on(host, "tail -n 40 /tmp/ray/session_latest/logs/monitor*", timeout=20).stdout


def edited(shipped: str, *, region: str, bucket: str) -> str:
    """Edits the two lines of cluster.yaml that every user edits, and shortens the idle time. The rest is unchanged.

    No address, no key and no command is different: the hosts have the addresses that the fake EC2 gives them, and the
    image's pip finds all packages installed.
    """
    changes = {
        "region: us-west-2 ": f"region: {region} ",
        "s3://CHANGE-ME/": f"s3://{bucket}/",
        "idle_timeout_minutes: 5 ": f"idle_timeout_minutes: {IDLE_S / 60:.3f} ",
    }
    for old, new in changes.items():
        assert shipped.count(old) == 1, f"cluster.yaml: expected one {old!r}"
        shipped = shipped.replace(old, new)
    return shipped


def on_premises(shipped: str, readme: str) -> str:
    """Edits cluster.yaml as the README describes for machines of one's own."""
    (block,) = [part for part in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "type: local" in part]
    first, _, rest = shipped.partition(_AWS_FROM)
    _, _, last = rest.partition(_AWS_TO)
    assert last, "cluster.yaml: the marks around the part for AWS are gone"
    return first + block + last
