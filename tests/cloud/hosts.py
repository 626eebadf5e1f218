"""Hosts made of Linux namespaces, one sshd each, on a bridge without a way out. Used inside the cloud's namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

GATEWAY = "172.31.255.254"
"""The address of the bridge and of the cloud's API."""
USER = "ubuntu"
_INIT = Path(__file__).with_name("host-init.sh")
_REPO = Path(__file__).resolve().parents[2]


def command(line: str) -> str:
    """Runs a line of shell and returns its output; raises what it wrote if it fails."""
    done = subprocess.run(line, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{line}\n{done.stdout}")
    return done.stdout


def make_bridge() -> None:
    """The network of all hosts, private (172.31) and public (54) addresses alike."""
    command(
        f"ip link set lo up && ip link add br0 type bridge && ip addr add {GATEWAY}/16 dev br0 && "
        "ip link set br0 up && ip route add 54.0.0.0/8 dev br0"
    )


@dataclass
class Host:
    """A machine that is switched on."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    first_pid: int = 0
    """Of the host's init, as the cloud numbers it."""

    @classmethod
    def boot(
        cls, name: str, folder: Path, *, ip: str, public_ip: str = "", host_key: Path, authorized_key: str, bashrc: str
    ) -> Host:
        """Switches a host on; sshd answers a moment later.

        Args:
            name: its host name.
            folder: for its own files, on a file system that can be the upper layer of an overlay.
            ip: its address in the network.
            public_ip: a second one.
            host_key: of its sshd.
            authorized_key: the public key that may log in.
            bashrc: of the login user.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(host_key, folder / "host_key")
        venv = Path(sys.prefix)
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "D": str(folder),
            "SHARED": str(folder.parent / ".shared"),
            "NAME": name,
            "IP": ip,
            "SSH_USER": USER,
            "AUTHORIZED_KEY": authorized_key.strip(),
            "VENV": str(venv),
            "KEEP": sys.base_prefix,
            # The checkout too: what runs on a host comes from the copy that `ray up` has sent there.
            "HIDE": ":".join(["/root", "/home", "/tmp", str(_REPO)]),
            "BASHRC": bashrc,
        }
        with (folder / "init.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--uts", "--ipc"),
                    *("--fork", "--kill-child=KILL", str(_INIT)),
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        host = cls(name, folder, process)
        host.first_pid = host._first_process()
        (folder / "pid").write_text(str(host.first_pid))
        link = f"v{process.pid}"
        inside = f"nsenter --net=/proc/{process.pid}/ns/net ip"
        command(
            f"ip link add {link} type veth peer name eth0 netns {process.pid} && ip link set {link} master br0 up && "
            f"{inside} link set lo up && {inside} addr add {ip}/16 dev eth0 && "
            + (f"{inside} addr add {public_ip}/32 dev eth0 && " if public_ip else "")
            # Public addresses are reached directly, not through a gateway that would have to forward.
            + f"{inside} link set eth0 up && {inside} route add 54.0.0.0/8 dev eth0 src {ip}"
        )
        return host

    def _first_process(self) -> int:
        """The id of the host's init, once it has namespaces of its own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for _ in range(500):
            if os.readlink(f"/proc/{self.process.pid}/ns/net") != os.readlink("/proc/self/ns/net"):
                found = children.read_text().split()
                if found:
                    return int(found[0])
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} did not boot: {(self.folder / 'init.log').read_text()}")

    def switch_off(self) -> None:
        """Kills all processes of the host at once, as when an instance is terminated."""
        self.process.kill()
        self.process.wait()
        # Its init, now a child of this process (the init of the outer namespace), is the last of its processes to end.
        os.waitpid(self.first_pid, 0)
