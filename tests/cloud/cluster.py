"""A cluster on the fake cloud, used by the README's commands; checks of its records."""

from __future__ import annotations

import collections
import contextlib
import itertools
import subprocess
import time
from typing import Any

from tests.cloud.cloud import LAPTOP, STORAGE, Cloud, wait_for
from tests.support.blocks import check_blocks

SAMPLES = 2
STUDY = (
    f"python -m study.run --variant real --size tiny --corpus toy --num-samples {SAMPLES} --seeds 1 --max-epochs 5 "
    "--address auto"
)
"""The README's command, on the smallest model and for a few epochs."""
PATIENCE_S = 280
"""Longest wait. Much more than it takes, as other work may share the cores."""


class Job:
    """A driver on the head, started with ``ray job submit``."""

    def __init__(self, cluster: Cluster, name: str, command: str) -> None:
        self.cluster = cluster
        self.name = name
        self.command = command
        self.started = time.time()
        submit = f"ray job submit --address http://localhost:8265 --submission-id {name} --no-wait -- {command}"
        cluster.cloud.laptop(submit)

    def log(self) -> str:
        """Its output so far."""
        return self.cluster.cloud.ask("job", self.name, "/logs")["logs"]

    def wait(self, *, seconds: float = PATIENCE_S) -> str:
        """Waits until it has ended well; returns its output."""

        def end() -> str:
            status = self.cluster.cloud.ask("job", self.name, "")["status"]
            return status if status in ("SUCCEEDED", "FAILED", "STOPPED") else ""

        try:
            status = wait_for(end, f"end of {self.command}", seconds=seconds, every=2.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}\n{self.cluster.cloud.logs(self.cluster.head())}") from None
        log = self.log()
        assert status == "SUCCEEDED", log
        return log

    def processes(self) -> list[int]:
        """Ids of the driver's process on the head, without the shell around it."""
        pattern = f"[p]ython -m {self.command.removeprefix('python -m ')}"
        found = self.cluster.cloud.on(self.cluster.head(), f"pgrep -f -x {pattern!r} || true").stdout
        return [int(pid) for pid in found.split()]

    def kill(self) -> None:
        """Ends the driver as a crash would."""
        pids = self.processes()
        assert pids, f"no driver to kill\n{self.log()}"
        self.cluster.cloud.on(self.cluster.head(), f"kill -9 {' '.join(map(str, pids))}")


class Cluster:
    """A cluster that ``ray up`` has started."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._names = itertools.count(1)
        self.up()

    def up(self, *flags: str) -> str:
        """``ray up``, and the tunnel to its dashboard."""
        output = self.cloud.laptop(" ".join(["ray up -y cluster.yaml", *flags, "2>&1"]), timeout=PATIENCE_S)
        # A tunnel to a head that is gone would keep the port.
        self.cloud.on(LAPTOP, "pkill -x ssh; while pgrep -x ssh; do sleep 0.1; done")
        self.cloud.start(LAPTOP, "exec ray dashboard cluster.yaml", stdout=subprocess.DEVNULL)
        reach = "import urllib.request as r; r.urlopen('http://localhost:8265/api/version', timeout=5)"
        wait_for(lambda: self.cloud.on(LAPTOP, f'python -c "{reach}"').returncode == 0, "dashboard", seconds=60)
        return output

    def down(self) -> str:
        """``ray down``."""
        return self.cloud.laptop("ray down -y cluster.yaml 2>&1", timeout=PATIENCE_S)

    def heads(self) -> list[str]:
        """Ids of running heads."""
        return [i["InstanceId"] for i in self.cloud.instances("head")]

    def head(self) -> str:
        """The head's id."""
        (one,) = self.heads()
        return one

    def workers(self, kind: str = "worker") -> list[str]:
        """Ids of running workers, or of those of one pool."""
        return [i["InstanceId"] for i in self.cloud.instances(kind)]

    def study(self, command: str) -> Job:
        """Starts a study on the head."""
        return Job(self, f"job-{next(self._names)}", command)

    def rows(self, table: str, search_seed: int) -> list[dict[str, Any]]:
        """The records of the study with a search seed; each scenario has one of its own."""
        runs = self.cloud.ask("rows", STORAGE, "runs")
        studies = {run["study"] for run in runs if run["search_seed"] == search_seed}
        if not studies:
            return []
        assert len(studies) == 1, studies
        read = runs if table == "runs" else self.cloud.ask("rows", STORAGE, table)
        return [row for row in read if row["study"] in studies]

    def wait_for_epochs(self, search_seed: int, count: int, job: Job) -> None:
        """Waits until a study has at least so many epochs on record."""
        try:
            wait_for(
                lambda: len(self.rows("epochs", search_seed)) >= count, f"{count} epochs on record", seconds=PATIENCE_S
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{job.log()}\n{self.cloud.logs(self.head())}") from None

    def check_complete(self, search_seed: int) -> list[dict[str, Any]]:
        """``check_rows`` for the study with a search seed."""
        return check_rows(self.rows("trials", search_seed), self.rows("epochs", search_seed))


def check_rows(found: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Asserts that every trial of a study has ended well, with each epoch on record once. Returns the trials.

    The study is of ``SAMPLES`` trials and one seed.
    """
    summary = [(trial["trial_id"], trial["status"], trial["num_epochs"], trial["error"]) for trial in found]
    check_blocks(found, num_samples=SAMPLES, num_seeds=1)
    assert {trial["status"] for trial in found} <= {"complete", "pruned"}, summary
    epochs = collections.defaultdict(list)
    for row in rows:
        epochs[row["trial_id"]].append(row["epoch"])
    for trial in found:
        assert sorted(epochs.pop(trial["trial_id"])) == list(range(1, trial["num_epochs"] + 1)), trial
    assert not epochs, f"epochs of no trial: {epochs}"
    return found


def dump(cluster: Cluster) -> str:
    """The cloud's events and the autoscaler's logs, for the report of a failed test."""
    lines = [(cluster.cloud.folder / "events.jsonl").read_text()]
    with contextlib.suppress(Exception):
        lines += [cluster.cloud.logs(head) for head in cluster.heads()]
    return "\n".join(lines)
