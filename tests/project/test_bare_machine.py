"""The GPU's tests and benchmark run with torch, numpy and pytest alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = ("ray", "optuna", "pandas", "pyarrow", "matplotlib", "rich", "jinja2", "scipy", "hypothesis", "moto", "boto3")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("import pytest; status = pytest.main(['-m', 'gpu', '-q', '--collect-only', '-p', 'no:cacheprovider'])",
         "tests/gpu/test_pack.py::"),
        ("from trainables.benchmark.__main__ import main; status = main(['--settings', 'tiny/toy', '--rounds', '2'])",
         "tiny/toy"),
    ],
)  # fmt: skip
def test_it_runs_without_what_a_study_needs(command: str, expected: str, repo_root: Path) -> None:
    without = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); {command}; sys.exit(status)"
    done = subprocess.run(
        [sys.executable, "-c", without], cwd=repo_root, capture_output=True, text=True,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(repo_root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in done.stdout
