from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug on a unit test, and syncing thousands of small files is most of its time."""
    monkeypatch.setattr("os.fsync", lambda *_: None)
