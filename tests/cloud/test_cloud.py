"""The cloud itself: it has no way out, and leaves nothing behind even if the tests are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cloud.cloud import LAPTOP, Cloud, remove_dead_folders, wait_for, why_not

START = """
import sys, time
from tests.cloud.cloud import Cloud
print(Cloud(machines=1).folder, flush=True)
time.sleep(600)
"""


def processes_with(text: str) -> list[str]:
    """Command lines of living processes that hold a text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path: None if name in ("sshd", "rsync") else f"/usr/bin/{name}")
    assert why_not() == "needs the Debian packages openssh-server, rsync"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in str(why_not())


@pytest.mark.slow
def test_a_killed_run_leaves_nothing(repo_root: Path) -> None:
    if reason := why_not():
        pytest.skip(f"no cloud on this machine: {reason}")
    links = os.listdir("/sys/class/net")
    run = subprocess.Popen([sys.executable, "-c", START], cwd=repo_root, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    folder = Path(run.stdout.readline().strip())
    assert folder.is_relative_to(tempfile.gettempdir())
    assert processes_with(folder.name)
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_for(lambda: not processes_with(folder.name), "end of the cloud's processes", seconds=20, every=0.1)
    assert folder.exists()
    remove_dead_folders()  # as the next cloud does
    assert not folder.exists()
    assert os.listdir("/sys/class/net") == links
    assert folder.name not in Path("/proc/mounts").read_text()


@pytest.mark.slow
def test_there_is_no_way_out_and_the_checkout_is_hidden(repo_root: Path) -> None:
    if reason := why_not():
        pytest.skip(f"no cloud on this machine: {reason}")
    cloud = Cloud(machines=1)
    try:
        remove_dead_folders()
        assert cloud.folder.exists()  # it lives
        reach = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
        done = cloud.on(LAPTOP, f'python -c "{reach}"')
        assert "Network is unreachable" in done.stdout
        cloud.laptop("ssh -o StrictHostKeyChecking=no -o ConnectionAttempts=30 ubuntu@172.31.0.11 true")
        assert cloud.laptop(f"ls -A {repo_root} 2>/dev/null; true") == ""  # empty, or below a folder that is hidden
        assert (
            cloud.laptop("python -c 'import study; print(study.__path__[0])'").strip() == "/home/ubuntu/project/study"
        )
        assert "tests.cloud" not in cloud.laptop("ps ax")
    finally:
        cloud.close()
    assert not cloud.folder.exists()
