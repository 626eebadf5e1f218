"""A split's windows, made once and kept on the device, for steps that are replayed on the same tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.data.batching import distinct_words, windows
from trainables.fused.step import TARGETS_MULTIPLE, Window


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
