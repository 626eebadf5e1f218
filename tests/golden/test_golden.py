"""Per-epoch losses of a few tiny trials against the file.

In float64 they must agree to 1e-8 relative on any platform, in float32 to 1e-3: the order of sums differs between
matrix libraries. Where the file was written they agree to 4e-15 and 8e-6. ``python -m tests.golden`` rewrites it.
"""

from __future__ import annotations

import json

import pytest
import torch

from tests.golden.trials import GOLDEN_FILE, TRIALS, run

GOLDEN = json.loads(GOLDEN_FILE.read_text())


def test_the_file_holds_every_trial():
    assert GOLDEN.keys() == TRIALS.keys()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-3)])
@pytest.mark.parametrize("name", TRIALS)
def test_losses_are_the_golden_ones(name, dtype, tolerance):
    for epoch, expected in zip(run(TRIALS[name], dtype), GOLDEN[name], strict=True):
        assert epoch == pytest.approx(expected, rel=tolerance)
