"""Made-up records of many studies at many stages, written once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis.records.load import Results, load_results
from study.records.records import Setting
from tests.support.synthetic import write_example, write_second_session, write_study, write_weights


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


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Something for every table: two whole studies, half of one, a second session, what trained weights predict."""
    storage = str(tmp_path_factory.mktemp("full"))
    for variant in ("baseline", "real"):
        setting = Setting("ptb", "small", variant)
        write_study(storage, setting, max_epochs=3, num_random=8)
        write_weights(storage, setting, factor=1.0 if variant == "baseline" else 0.9)
        write_second_session(storage, setting, num_seeds=2)
    write_study(storage, Setting("toy", "tiny", "re"), recipe_seeds=1, tuned_seeds=0)
    write_study(storage, Setting("wikitext2-a", "small", "al"), recipe_seeds=1, tuned_seeds=1, max_epochs=3)
    return load_results([storage])
