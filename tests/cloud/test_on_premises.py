"""cluster.yaml on machines of one's own, after the one change that the README describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.cloud import Cloud, on_premises, why_not
from tests.cloud.cluster import STUDY, check_rows
from tests.cloud.server import SHARED, machine_ip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machines() -> Iterator[Cloud]:
    """A laptop and two machines."""
    if reason := why_not():
        pytest.skip(f"no machines can be simulated here: {reason}")
    one = Cloud(machines=2)
    try:
        yield one
    finally:
        one.close()


def test_up_study_down_on_machines_of_ones_own(machines: Cloud, repo_root: Path) -> None:
    shipped, readme = ((repo_root / name).read_text("utf-8") for name in ("cluster.yaml", "study/README.md"))
    config = on_premises(shipped, readme)
    for number, address in enumerate(("10.0.0.1", "10.0.0.2"), start=1):
        assert config.count(address) == 1
        config = config.replace(address, machine_ip(number))
    config = config.replace(", 10.0.0.3", "").replace("s3://CHANGE-ME/vdlstm-study", f"{SHARED}/results")
    machines.write_config(config)
    machines.laptop("ray up -y cluster.yaml 2>&1", timeout=200)
    output = machines.laptop(f"ray exec cluster.yaml {STUDY + ' --gpus-per-trial 0'!r} 2>&1", timeout=240)
    assert f"records: {SHARED}/results" in output
    rows = {table: machines.ask("rows", f"{SHARED}/results", table) for table in ("trials", "epochs")}
    check_rows(rows["trials"], rows["epochs"])
    # The head runs no trial: trial processes have been on the other machine alone.
    logs = "grep -l VDLSTMTrainable /tmp/ray/session_latest/logs/worker-*.out"
    assert machines.on("machine-2", logs).returncode == 0
    assert machines.on("machine-1", logs).returncode != 0
    machines.laptop("ray down -y cluster.yaml 2>&1", timeout=100)
    assert machines.on("machine-1", "pgrep -x raylet").returncode == 1
