"""A stack: slots whose trials are computed together, window by window.

Each trial has its own weights, settings, learning rate and random stream, and its numbers do not depend on the other
slots: a free or a quarantined slot computes on zeros at a learning rate of zero.

Shapes: K slots, L layers, T steps, B streams, H units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.fused.step import StackStep, Window
from trainables.fused.weights import StackWeights, check_weights, to_cpu
from trainables.models import build_model
from trainables.models.dropout import draw_masks
from trainables.pack.cuda_graph import capture
from trainables.recipes import NUM_LAYERS
from trainables.trial.epoch_result import EpochResult, NonFiniteLossError, divergence, epoch_result
from trainables.trial.evaluation import stack_nats_per_token
from trainables.trial.training import check_same_trial, make_generators


@dataclass
class Slot:
    """A trial in its slot."""

    config: TrialConfig
    mask_generator: torch.Generator
    epoch: int = 0
    """Finished epochs."""
    error: NonFiniteLossError | None = None
    """Why it is quarantined; None while it trains."""


class Stack:
    """K slots.

    Args:
        config: a trial of the shape; with ``refill`` off, the only trial that will be admitted, and K is 1.
        num_slots: K.
        refill: whether other trials may be admitted; if not, the step leaves out what the trial does not need.
        device: where.
        dtype: of weights and arithmetic.
        window: on a GPU, the window whose tensors are overwritten before each step, for a CUDA graph of the step.
    """

    def __init__(
        self,
        config: TrialConfig,
        num_slots: int,
        *,
        refill: bool,
        device: torch.device,
        dtype: torch.dtype,
        window: Window | None = None,
    ) -> None:
        self.device, self.slots = device, [None] * num_slots  # type: tuple[torch.device, list[Slot | None]]
        self.weights = StackWeights.zeros(num_slots, config, device=device, dtype=dtype)
        self.step = StackStep(self.weights, [config] * num_slots, refill=refill)
        self._state = self.weights.zero_state(config.batch_size)
        self._lr = torch.zeros(num_slots, dtype=torch.float64, device=device)
        self._latest = self._lr.new_zeros(num_slots, 3, dtype=dtype)  # J, J_aug and the gradient's norm
        self._mask_scale = self._latest.new_ones(num_slots, 1, 1)
        self._no_input_dropout = torch.ones(num_slots, 1, 1, dtype=torch.bool, device=device)
        self._staging = MaskStaging((NUM_LAYERS + 1, num_slots, config.batch_size, config.hidden_size), device)
        self._window = window
        self._run: Callable[[], None] = self._compute
        if window is not None:
            self._run = capture(self._compute, device)  # learning rates are zero: the weights do not change

    @torch.no_grad()
    def admit(self, index: int, config: TrialConfig, state: dict[str, Any] | None = None) -> None:
        """Puts a trial into a free slot, from its beginning or from a ``Training.state_dict``.

        Raises:
            ValueError: if the state is not this trial's; the slot then stays free.
        """
        weight_generator, mask_generator = make_generators(config.seed)
        if state is None:
            dtype = self.weights.embedding.dtype
            model = build_model(config, generator=weight_generator, dtype=dtype)
            weights: dict[str, Tensor] = dict(model.named_parameters())
        else:
            check_same_trial(config, state)
            weights = state["model"]
            mask_generator.set_state(state["mask_generator"])
        ours = self.weights.trial(index)
        check_weights(ours, weights)
        for name, p in ours.items():
            p.copy_(weights[name].detach())
        self.step.set_trial(index, config)
        self._mask_scale[index] = 1.0 / (1.0 - config.drop_prob)
        self._no_input_dropout[index] = not config.input_dropout
        self.slots[index] = Slot(config, mask_generator, 0 if state is None else int(state["epoch"]))

    def release(self, index: int) -> None:
        """Frees a slot."""
        self._clear(index)
        self.slots[index] = None

    def running(self) -> dict[int, Slot]:
        """The slots that train, by index."""
        return {i: s for i, s in enumerate(self.slots) if s is not None and s.error is None}

    @torch.no_grad()
    def begin_epoch(self, num_windows: int) -> None:
        """Zeroes the states and sets each trial's learning rate (zaremba2014)."""
        for tensor in self._state:
            tensor.zero_()
        for index, slot in self.running().items():
            self._lr[index] = slot.config.lr_at(slot.epoch + 1)
        self._measured = self._latest.new_zeros(num_windows, *self._latest.shape)
        self._checked = 0

    @torch.no_grad()
    def run_window(self, number: int, window: Window) -> None:
        """One step of every slot.

        Args:
            number: of the window, from 0.
            window: its tokens.
        """
        self._window = window
        kept = self._staging.next()
        for index, slot in self.running().items():
            config = slot.config
            kept[:, index] = draw_masks(config.batch_size, config.hidden_size, config.drop_prob, slot.mask_generator)
        self._staging.send()
        self._run()
        self._measured[number].copy_(self._latest)

    def _compute(self) -> None:
        """Runs the step on static tensors."""
        assert self._window is not None
        kept = self._staging.on_device
        masks = kept.to(self._latest.dtype).mul_(self._mask_scale)
        masks[0].masked_fill_(self._no_input_dropout, 1.0)
        ce, augmented, state = self.step.gradients(self._window, masks, self._state)
        norm = self.step.update(self._lr)
        for ours, new in zip(self._state, state, strict=True):
            ours.copy_(new)
        torch.stack([ce, augmented, norm], 1, out=self._latest)

    @torch.no_grad()
    def check(self, done: int) -> None:
        """Quarantines the trials whose losses or gradients were not finite in the windows since the last check.

        Args:
            done: windows of this epoch that have been run.
        """
        since = self._measured[self._checked : done]
        if not bool(torch.isfinite(since).all()):
            for index, slot in self.running().items():
                slot.error = divergence(
                    since[:, index], slot.config, epoch=slot.epoch + 1, first_window=self._checked,
                    num_windows=self._measured.shape[0],
                )  # fmt: skip
                if slot.error is not None:
                    self._clear(index)
        self._checked = done

    def finish_epoch(self, train_s: float) -> dict[int, EpochResult]:
        """Returns the epoch's result of every trial that did not diverge."""
        results = {}
        for index, slot in self.running().items():
            slot.epoch += 1
            results[index] = epoch_result(self._measured[:, index], slot.config, train_s=train_s)
        return results

    def evaluate(self, tokens: Tensor, *, eos_id: int, batch_size: int) -> dict[int, float]:
        """Nats per token of every trial that did not diverge."""
        running = list(self.running())
        if not running:
            return {}
        found = stack_nats_per_token(self.weights, tokens, running, eos_id=eos_id, batch_size=batch_size)
        return dict(zip(running, found, strict=True))

    def state_dict(self, index: int) -> dict[str, Any]:
        """In the format of ``Training.state_dict``."""
        slot = self.slots[index]
        assert slot is not None
        return {
            "config": slot.config.to_dict(),
            "epoch": slot.epoch,
            "model": to_cpu(self.weights.trial(index)),
            "mask_generator": slot.mask_generator.get_state(),
        }

    @torch.no_grad()
    def _clear(self, index: int) -> None:
        for p in self.weights.trial(index).values():
            p.zero_()
        for tensor in self._state:
            tensor[:, index].zero_()
        self._lr[index] = 0.0


class MaskStaging:
    """Copies masks from the CPU to the device without waiting for the device.

    Args:
        shape: of the masks.
        device: where they go.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        cuda = device.type == "cuda"
        self._ring = [torch.ones(shape, dtype=torch.bool, pin_memory=cuda) for _ in range(4 if cuda else 1)]
        self._sent = [torch.cuda.Event() for _ in self._ring] if cuda else []
        self._position = 0
        self.on_device = torch.ones(shape, dtype=torch.bool, device=device) if cuda else self._ring[0]

    def next(self) -> Tensor:
        """CPU memory to write the next masks to."""
        self._position = (self._position + 1) % len(self._ring)
        if self._sent:
            self._sent[self._position].synchronize()  # waits only if the CPU is a whole ring ahead
        return self._ring[self._position]

    def send(self) -> None:
        """Queues the copy to the device."""
        if self._sent:
            self.on_device.copy_(self._ring[self._position], non_blocking=True)
            self._sent[self._position].record()
