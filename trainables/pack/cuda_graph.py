"""A function's kernels recorded once and replayed: a replay costs one launch instead of thousands."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

WARMUPS = 3
"""Runs before the recording: libraries choose kernels and make their buffers in the first ones."""


def capture(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Records a function as a CUDA graph.

    Args:
        function: reads and writes the same tensors at every call, and never waits for the device. It is run here
            several times: what that changes must not matter yet.
        device: where it runs; elsewhere than on a GPU nothing is recorded.

    Returns:
        What to call instead: the replay, or ``function`` itself if recording failed, which is told as a warning.
    """
    if device.type != "cuda":
        return function
    try:
        with torch.cuda.device(device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARMUPS):
                    function()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                function()
        return graph.replay
    except RuntimeError as error:
        if "out of memory" in str(error):
            raise
        warnings.warn(f"no CUDA graph of the training step, it runs kernel by kernel: {error}", stacklevel=2)
        return function
