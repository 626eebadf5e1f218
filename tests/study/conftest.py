from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests do not sync files to disk: it would take most of their time."""
    monkeypatch.setattr("os.fsync", lambda *_: None)
