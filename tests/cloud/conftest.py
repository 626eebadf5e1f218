"""The ``cloud`` fixture; a skip with the reason where there can be none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud.cloud import Cloud, why_not


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """A cloud with a laptop and nothing else in it."""
    if reason := why_not():
        pytest.skip(f"no cloud on this machine: {reason}")
    one = Cloud()
    try:
        yield one
    finally:
        one.close()
