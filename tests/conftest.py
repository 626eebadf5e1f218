"""What every test shares: a quiet, offline environment, the real corpora where they are, and the ``gpu`` marker."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch or ray is imported. One thread: the tests' matrices are small, and Ray's workers run beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

try:
    from hypothesis import settings
except ImportError:  # the GPU's tests do without
    pass
else:
    # A time limit per example would fail at random on a busy machine; in CI the examples are the same in every run.
    settings.register_profile("local", deadline=None)
    settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "local")

GPU_TESTS = Path(__file__).parent / "gpu"
"""Its tests, and no others, are marked ``gpu``. They need torch and numpy, but neither Ray nor Optuna nor pyarrow."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``-m gpu`` collects the GPU's tests alone: a GPU machine may lack what the others import."""
    others = collection_path.parent == GPU_TESTS.parent and collection_path != GPU_TESTS
    return True if others and config.option.markexpr == "gpu" else None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the GPU's tests, and skips them on a machine without one."""
    marked = [item for item in items if GPU_TESTS in item.path.parents]
    if not marked:
        return
    import torch

    for item in marked:
        item.add_marker("gpu")
        if not torch.cuda.is_available():
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
