"""Made-up records of many studies at many stages, written once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis.records.load import Results, load_results
from tests.support.synthetic import write_example


@pytest.fixture(scope="session")
def example_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with ``synthetic.write_example`` in it. Not to be written to."""
    path = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of files, and nobody will pull the plug on them
        write_example(str(path))
    return path


@pytest.fixture(scope="session")
def example(example_storage: Path) -> Results:
    """The same, read."""
    return load_results([str(example_storage)])
