"""Records a function as a CUDA graph, whose replay costs one launch instead of thousands, and keeps its input windows.

A replay reads the same tensors every time: ``WindowTable`` overwrites them with the next window.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.data.batching import distinct_words, windows
from trainables.fused.step import TARGETS_MULTIPLE, Window

WARMUPS = 3
"""Runs before the recording, in which libraries choose kernels and allocate buffers."""


def capture(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Records a function as a CUDA graph.

    Args:
        function: reads and writes the same tensors at every call, and never waits for the device. It runs here several
            times, so its effects on the tensors must not matter yet.
        device: where it runs; only a GPU records.

    Returns:
        The replay; ``function`` itself on another device or, with a warning, if recording failed.
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


class WindowTable:
    """Every window of an epoch on the device, and the tensors that a replay reads.

    Distinct targets are padded to the largest number of any window, so that shapes never change.

    Args:
        streams: (S, B) token ids on the CPU.
        bptt: T.
        augmented: whether the distinct targets are needed.
        device: where.
    """

    def __init__(self, streams: Tensor, bptt: int, *, augmented: bool, device: torch.device | str) -> None:
        pairs = list(windows(streams, bptt, partial=False))
        columns = [torch.stack([x.reshape(-1) for x in column]) for column in zip(*pairs, strict=True)]
        if augmented:
            most = max(targets.unique().numel() for _, targets in pairs)
            length = most + -most % TARGETS_MULTIPLE
            distinct = [distinct_words(targets, multiple_of=length) for _, targets in pairs]
            columns += [torch.stack(column) for column in zip(*distinct, strict=True)]
        self._columns = [column.to(device) for column in columns]
        current = [column[0].clone() for column in self._columns]
        self.window = Window(current[0], current[1], (current[2], current[3]) if augmented else None)
        self._current = current

    def load(self, number: int) -> Window:
        """Overwrites ``window`` with the numbered one."""
        for current, column in zip(self._current, self._columns, strict=True):
            current.copy_(column[number])
        return self.window
