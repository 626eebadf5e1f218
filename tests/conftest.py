"""What every test shares: a quiet, offline environment, the real corpora where they are, and the ``gpu`` marker."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch or ray is imported. One thread: the tests' matrices are small, and Ray's workers run beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

# A time limit per example would fail at random on a busy machine; in CI the examples are the same in every run.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked ``gpu`` on a machine without one."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user's cache is neither read nor written."""
    os.environ["VDLSTM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout's root."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real corpora (``VDLSTM_DATA``), or a skip that says why."""
    folder = os.environ.get("VDLSTM_DATA")
    if not folder:
        pytest.skip("VDLSTM_DATA is not set: no real corpora to test on")
    if not Path(folder).is_dir():
        pytest.skip(f"VDLSTM_DATA={folder} is not a folder")
    return Path(folder)
