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


class WindowTable:
    """Every window of an epoch, and the one that is read.

    The tables of distinct targets are as long as the corpus' richest window needs, so that shapes never change.

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
