"""Pack: trains many trials of one shape on one device; trials enter and leave at epoch boundaries.

The next trial takes a stopped trial's slot while the others keep training. A trial's state can move between a pack and
``Training``, and its numbers are the same in both, on a CPU bit for bit.

On a GPU the slots are one stack, free ones included, and its whole step is one CUDA graph. On a CPU, where batching
trials gains nothing, each occupied slot is a stack of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.data.batching import as_tokens, num_windows, windows
from trainables.fused import supports
from trainables.fused.precision import trial_precision, use_precision
from trainables.fused.step import Window, make_window
from trainables.models import num_params
from trainables.models.distance import subspace_distance
from trainables.pack.cuda_graph import WindowTable
from trainables.pack.stack import Stack
from trainables.trial.epoch_result import EpochResult, NonFiniteLossError, windows_per_check
from trainables.trial.training import Training, peak_memory_bytes, training_streams

SHAPE = ("corpus", "size", "cell", "dropout", "tie_weights", "augmented_loss", "batch_size", "bptt")
"""Settings that the trials of a pack share; all others may differ."""


class Pack:
    """Slots for trials of one shape.

    Args:
        template: a trial of the shape.
        train: (N,) token ids of the training split.
        num_slots: trials at once.
        device: where to train.
        dtype: of weights and arithmetic.
        precision: of the matrix products (``precision.py``); None for the device's default.
        stacked: whether the slots are one stack; None for True on a GPU only.

    Raises:
        ValueError: if there is no slot, the fused step does not support the template, a token is outside the
            vocabulary, the split does not fill one window, or the device does not have the precision.
    """

    def __init__(
        self,
        template: TrialConfig,
        train: np.ndarray | Tensor,
        num_slots: int,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        precision: str | None = None,
        stacked: bool | None = None,
    ) -> None:
        if isinstance(num_slots, bool) or not isinstance(num_slots, int) or num_slots < 1:
            raise ValueError(f"num_slots must be a whole number of at least 1, got {num_slots!r}")
        if not supports(template):
            raise ValueError(
                f"a pack's trials must be supported by the fused step, which does not support cell {template.cell!r} "
                f"with {template.dropout} dropout: variant {template.variant!r} trains outside packs"
            )
        self.template, self.num_slots, self.dtype = template, num_slots, dtype
        self.device = torch.device(device)
        self.precision = trial_precision(template, precision, self.device)
        self._streams = training_streams(train, template)
        self._num_windows = num_windows(self._streams.numel(), template.batch_size, template.bptt)
        self._stacked = self.device.type == "cuda" if stacked is None else stacked
        self._stacks: dict[int, Stack] = {}
        self._table: WindowTable | None = None
        if self._stacked:
            static = None
            if self.device.type == "cuda":
                self._table = WindowTable(
                    self._streams, template.bptt, augmented=template.augmented_loss, device=self.device
                )
                static = self._table.window
            with use_precision(self.precision, self.device):
                self._stacks[0] = Stack(
                    template, num_slots, refill=True, device=self.device, dtype=dtype, window=static
                )

    @property
    def occupied(self) -> dict[int, TrialConfig]:
        """The trials in the pack, by slot; a diverged one keeps its slot until it is released."""
        return {i: slot.config for base, stack in sorted(self._stacks.items())
                for i, slot in enumerate(stack.slots, base) if slot is not None}  # fmt: skip

    def admit(self, config: TrialConfig, state: dict[str, Any] | None = None) -> int:
        """Puts a trial into a free slot, between two epochs, and returns the slot.

        Args:
            config: the trial.
            state: a ``state_dict`` of it, from a pack or from ``Training``; None to begin.

        Raises:
            ValueError: if the trial is of another shape, no slot is free, or the state is not this trial's; the pack
                is then unchanged.
        """
        for name in SHAPE:
            given, allowed = getattr(config, name), getattr(self.template, name)
            if given != allowed:
                shared = ", ".join(SHAPE)
                raise ValueError(f"a pack's trials must share {shared}: {name} must be {allowed!r} here, got {given!r}")
        free = [slot for slot in range(self.num_slots) if slot not in self.occupied]
        if not free:
            raise ValueError(f"a trial needs a free slot: all {self.num_slots} are taken; release one first")
        slot = free[0]
        if self._stacked:
            self._stacks[0].admit(slot, config, state)
        else:
            with use_precision(self.precision, self.device):
                stack = Stack(config, 1, refill=False, device=self.device, dtype=self.dtype)
            stack.admit(0, config, state)
            self._stacks[slot] = stack
        return slot

    def release(self, slot: int) -> None:
        """Frees a slot and discards its trial's state.

        Raises:
            ValueError: if the slot is free.
        """
        stack, index = self._find(slot)
        stack.release(index)
        if not self._stacked:
            del self._stacks[slot]

    def train_epoch(self) -> dict[int, EpochResult | NonFiniteLossError]:
        """Trains every trial for its next epoch, each at its own learning rate, from a zero state (zaremba2014).

        Returns:
            By slot, the result (``train_s`` is the pack's), or the error of a trial that diverged. Such a trial is not
            trained, evaluated or returned again; release its slot.
        """
        start = time.perf_counter()
        training = {base: stack for base, stack in self._stacks.items() if stack.running()}
        began = {base + index: stack.slots[index] for base, stack in training.items() for index in stack.running()}
        interval = windows_per_check(self.device)
        with use_precision(self.precision, self.device):
            for stack in training.values():
                stack.begin_epoch(self._num_windows)
            for number, window in enumerate(self._windows() if training else ()):
                for stack in training.values():
                    if stack.running():
                        stack.run_window(number, window)
                        if (number + 1) % interval == 0 or number + 1 == self._num_windows:
                            stack.check(number + 1)
        seconds = time.perf_counter() - start
        results: dict[int, EpochResult | NonFiniteLossError] = {}
        for base, stack in training.items():
            results.update({base + index: result for index, result in stack.finish_epoch(seconds).items()})
        results.update({i: slot.error for i, slot in began.items() if slot is not None and slot.error is not None})
        return dict(sorted(results.items()))

    def _windows(self) -> Iterator[Window]:
        if self._table is not None:
            yield from (self._table.load(number) for number in range(self._num_windows))
            return
        sparse = any(stack.step.sparse_embedding for stack in self._stacks.values())
        for inputs, targets in windows(self._streams, self.template.bptt, partial=False):
            yield make_window(
                inputs, targets, augmented=self.template.augmented_loss, sparse=sparse, device=self.device
            )

    def evaluate(self, tokens: np.ndarray | Tensor, *, eos_id: int, batch_size: int = 20) -> dict[int, float]:
        """Nats per token of a text by slot, as ``Training.evaluate``; diverged trials are left out.

        Raises:
            ValueError: if a token is outside the vocabulary, or there is none.
        """
        text = as_tokens(tokens, self.template.vocab_size)
        with use_precision("fp32", self.device):
            found = {base: stack.evaluate(text, eos_id=eos_id, batch_size=batch_size)
                     for base, stack in sorted(self._stacks.items())}  # fmt: skip
        return {base + index: nats for base, each in found.items() for index, nats in each.items()}

    def state_dict(self, slot: int) -> dict[str, Any]:
        """The state that decides the rest of a trial, in the format of ``Training.state_dict``.

        Raises:
            ValueError: if the slot is free, or its trial diverged.
        """
        stack, index = self._find(slot, healthy=True)
        return stack.state_dict(index)

    def _find(self, slot: int, *, healthy: bool = False) -> tuple[Stack, int]:
        if slot not in (occupied := self.occupied):
            taken = ", ".join(map(str, occupied)) or "none"
            raise ValueError(f"the slot must hold a trial: these do: {taken}, got {slot!r}")
        stack, index = (self._stacks[0], slot) if self._stacked else (self._stacks[slot], 0)
        held = stack.slots[index]
        if healthy and held is not None and held.error is not None:
            raise ValueError(f"the trial in slot {slot} must not have diverged, but {held.error}")
        return stack, index


class PackSlot:
    """The trial in a slot (ValueError if it is free), with the read-outs of ``Training``."""

    def __init__(self, pack: Pack, slot: int) -> None:
        self._pack, self._slot = pack, slot
        stack, index = pack._find(slot)
        held = stack.slots[index]
        assert held is not None
        self._held = held

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self._held.epoch

    @property
    def num_params(self) -> int:
        """Trainable parameters."""
        return num_params(self._pack.template)

    def state_dict(self) -> dict[str, Any]:
        """As ``Pack.state_dict``."""
        return self._pack.state_dict(self._slot)

    def model_state(self) -> dict[str, Tensor]:
        """The weights, copied to the CPU; errors as ``Pack.state_dict``."""
        return self.state_dict()["model"]

    def subspace_distance(self) -> float | None:
        """Appendix B between embedding and decoder; None when tied; errors as ``Pack.state_dict``."""
        stack, index = self._pack._find(self._slot, healthy=True)
        if self._pack.template.tie_weights:
            return None
        weights = stack.weights
        return subspace_distance(weights.embedding[index].cpu(), weights.decoder.decoder[index].cpu())

    def peak_memory_bytes(self) -> int:
        """As ``Training.peak_memory_bytes``, of all slots together."""
        return peak_memory_bytes(self._pack.device)


class PackOfOne(PackSlot):
    """A pack with a single trial, used like ``Training``; on a GPU its step is one CUDA graph.

    Args:
        config: the trial.
        train: (N,) token ids of the training split.
        state: a ``state_dict`` of it, from a pack or ``Training``; None to begin.
        device: where to train.
        dtype: of weights and arithmetic.
        precision: of the matrix products (``precision.py``); None for the device's default.

    Raises:
        ValueError: as ``Pack``, or if the state is not this trial's.
    """

    def __init__(
        self,
        config: TrialConfig,
        train: np.ndarray | Tensor,
        state: dict[str, Any] | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        precision: str | None = None,
    ) -> None:
        pack = Pack(config, train, 1, device=device, dtype=dtype, precision=precision, stacked=True)
        super().__init__(pack, pack.admit(config, state))

    def train_epoch(self) -> EpochResult:
        """As ``Training.train_epoch``."""
        result = self._pack.train_epoch()[self._slot]
        if isinstance(result, NonFiniteLossError):
            raise result
        return result

    def evaluate(self, tokens: np.ndarray | Tensor, *, eos_id: int, batch_size: int = 20) -> float:
        """As ``Training.evaluate``."""
        return self._pack.evaluate(tokens, eos_id=eos_id, batch_size=batch_size)[self._slot]


def begin_trial(
    config: TrialConfig,
    train: np.ndarray | Tensor,
    state: dict[str, Any] | None = None,
    *,
    device: str | torch.device,
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
) -> Training | PackOfOne:
    """Begins or resumes a single trial: on a GPU as a ``PackOfOne``, since launching its kernels one by one would take
    most of the time, else as a ``Training``.

    A trial that the fused step does not support is a ``Training`` on every device.

    Arguments and errors are those of ``PackOfOne``.
    """
    if torch.device(device).type == "cuda" and supports(config):
        return PackOfOne(config, train, state, device=device, dtype=dtype, precision=precision)
    training = Training(config, train, device=device, dtype=dtype, precision=precision)
    if state is not None:
        training.load_state_dict(state)
    return training
