"""One training step of K trials side by side, without autograd: gradients of a window, clipping, SGD.

A CUDA graph can record the step: its buffers are made once and it never waits for the device. Clipping factors,
learning rates and all other settings of a trial are tensors with a trial axis; the distinct words are computed from the
CPU's copy of the tokens. No operation crosses the trial axis, so a trial's NaN does not reach the others.

Shapes: K trials, T steps, B streams, N = T B tokens, H units, V words, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.data.batching import distinct_words
from trainables.fused.head import Head, Targets
from trainables.fused.layer import LayerBuffers, layer_backward, layer_forward
from trainables.fused.matmul import add_rows, norms, shared_rows
from trainables.fused.scores import AugmentedTerm
from trainables.fused.weights import StackWeights

TARGETS_MULTIPLE = 32
"""The number of distinct targets is padded to a multiple of this. Tables (U, V) of many sizes fragment a process' heap:
a PTB small trial then held 1.7 GB after two epochs."""


@dataclass(frozen=True)
class Window:
    """A window's tokens on the device; all trials of a stack read the same."""

    inputs: Tensor
    """(N,) ids."""
    targets: Tensor
    """(N,) ids."""
    distinct_targets: tuple[Tensor, Tensor] | None = None
    """(U,) ids and (N,) indices into them; with the augmented loss."""
    distinct_inputs: tuple[Tensor, Tensor] | None = None
    """The same of the inputs; with ``sparse_embedding``."""


def make_window(
    inputs: Tensor, targets: Tensor, *, augmented: bool, sparse: bool, device: torch.device | str
) -> Window:
    """Moves a window of (T, B) token ids from the CPU to the device, with its distinct targets (``augmented``) and
    inputs (``sparse``)."""

    def move(x: Tensor) -> Tensor:
        return x.to(device, non_blocking=True)

    def distinct(words: Tensor, multiple_of: int) -> tuple[Tensor, Tensor]:
        unique, index = distinct_words(words, multiple_of=multiple_of)
        return move(unique), move(index)

    return Window(
        move(inputs.reshape(-1)),
        move(targets.reshape(-1)),
        distinct(targets, TARGETS_MULTIPLE) if augmented else None,
        distinct(inputs, 1) if sparse else None,
    )


class WindowStep:
    """Computes the gradients of K trials over a window.

    Args:
        weights: of the trials; must not be replaced.
        batch_size: B.
        bptt: T.
        augmented: settings of the augmented loss; None for the cross-entropy alone.
        input_dropout: whether the first layer's input is masked.
        sparse_embedding: whether only the embedding rows of the window's own words get a gradient.
    """

    def __init__(
        self,
        weights: StackWeights,
        batch_size: int,
        bptt: int,
        *,
        augmented: AugmentedTerm | None,
        input_dropout: bool,
        sparse_embedding: bool,
    ) -> None:
        self.weights, self.batch_size, self.bptt, self.augmented = weights, batch_size, bptt, augmented
        self.input_dropout, self.sparse_embedding = input_dropout, sparse_embedding
        like = weights.embedding
        shape = (weights.num_trials, bptt, batch_size, like.shape[-1])
        self.head = Head(*shape[:3], augmented=augmented, like=like[0])
        self.buffers = [LayerBuffers(*shape, like=like) for _ in weights.layers]
        self.d_x = [like.new_empty(shape) for _ in weights.layers]
        self.d_weights = weights.like_without(*["embedding"] * sparse_embedding)

    @torch.no_grad()
    def gradients(
        self, window: Window, masks: Tensor | None, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Forward and backward over a window; the gradients, summed over the streams, stay in the step.

        Args:
            window: the tokens.
            masks: (L + 1, K, B, H), scaled; the first is ones for a trial without input dropout. None for no dropout.
            state: (hidden, cell), each (L, K, B, H), carried in.

        Returns:
            Sums of J and of J_aug over the window's tokens, each (K,), and the state to carry on.
        """
        self._window = window
        k, t, b, h = self.buffers[0].shape
        x = shared_rows(self.weights.embedding, window.inputs).view(k, t, b, h)
        input_mask, *layer_masks = [None] * (len(self.buffers) + 1) if masks is None else masks.unbind()
        if not self.input_dropout:
            input_mask = None
        if input_mask is not None:
            x.mul_(input_mask.unsqueeze(1))
        xs = []
        for index, (layer, buffers) in enumerate(zip(self.weights.layers, self.buffers, strict=True)):
            xs.append(x)
            x = layer_forward(x, layer, layer_masks[index], state[0][index], state[1][index], buffers)
        losses = self.head(x, self._targets(window), self.weights.decoder, self.d_weights.decoder)
        d_x = self.head.d_hidden.view(k, t, b, h)
        for index in range(len(xs) - 1, -1, -1):
            layer, buffers, d_layer = self.weights.layers[index], self.buffers[index], self.d_weights.layers[index]
            layer_backward(d_x, xs[index], layer, layer_masks[index], buffers, d_layer, self.d_x[index])
            d_x = self.d_x[index]
        self._add_embedding_gradient(window, d_x, input_mask)
        hidden = torch.stack([buffers.final_hidden for buffers in self.buffers])
        return *losses, (hidden, torch.stack([buffers.final_cell for buffers in self.buffers]))

    def _targets(self, window: Window) -> Targets:
        k = self.weights.num_trials
        words = window.targets.expand(k, -1)
        if window.distinct_targets is None:
            return Targets(words)
        distinct, index = window.distinct_targets
        return Targets(words, distinct.expand(k, -1), index.expand(k, -1))

    def _add_embedding_gradient(self, window: Window, d_x: Tensor, mask: Tensor | None) -> None:
        """Adds the gradient of the first layer's input (K, T, B, H), which is overwritten, to the embedding's."""
        if mask is not None:
            d_x.mul_(mask.unsqueeze(1))
        rows = d_x.view(d_x.shape[0], -1, d_x.shape[-1])
        if self.sparse_embedding:
            assert window.distinct_inputs is not None
            words, index = window.distinct_inputs
            self._rows = rows.new_zeros(1, words.numel(), rows.shape[-1])
            add_rows(self._rows, index.unsqueeze(0), rows)
        else:
            add_rows(self.d_weights.named["embedding"], window.inputs.expand(rows.shape[0], -1), rows)


class StackStep(WindowStep):
    """The training step of a stack: gradients, clipping, SGD.

    The loss is summed over the window's steps and averaged over the streams (zaremba2014); learning rate and clipping
    apply to that.

    Args:
        weights: updated in place, and must not be replaced.
        configs: of the trials, which share their shape.
        refill: whether other trials may take the slots (``set_trial``). The step then supports any trial of the shape;
            otherwise it leaves out what these trials do not need.
    """

    def __init__(self, weights: StackWeights, configs: Sequence[TrialConfig], *, refill: bool) -> None:
        first, like, k = configs[0], weights.embedding, weights.num_trials
        assert len(configs) == k
        augmented = None
        flows = first.augmented_loss and (refill or any(c.target_gradient == "flow" for c in configs))
        if first.augmented_loss:
            ones = [like.new_ones(k, 1, 1) for _ in range(3)]
            augmented = AugmentedTerm(tau=ones[0], gamma=ones[1], flow=ones[2] if flows else None)
        super().__init__(
            weights,
            first.batch_size,
            first.bptt,
            augmented=augmented,
            input_dropout=refill or any(c.input_dropout for c in configs),
            # Untied, and with no gradient through the target distribution, only the window's own words have one:
            # their rows alone are stored, clipped and updated.
            sparse_embedding=not weights.tie_weights and not flows and not refill and k == 1,
        )
        self.max_norm = like.new_ones(k)
        for slot, config in enumerate(configs):
            self.set_trial(slot, config)

    def set_trial(self, slot: int, config: TrialConfig) -> None:
        """Sets a slot's settings to a trial's."""
        self.max_norm[slot] = config.max_grad_norm
        if self.augmented is None:
            return
        assert config.tau is not None
        assert config.gamma is not None
        self.augmented.tau[slot], self.augmented.gamma[slot] = config.tau, config.gamma
        if self.augmented.flow is not None:
            self.augmented.flow[slot] = float(config.target_gradient == "flow")

    @torch.no_grad()
    def update(self, lr: Tensor) -> Tensor:
        """Clips each trial's gradients by their global norm and takes a step of plain SGD.

        A tied matrix has one gradient and counts once.

        Args:
            lr: (K,), the learning rates in float64, on the device.

        Returns:
            (K,), the norms before clipping, of the loss averaged over the streams.
        """
        parts = [norms(gradient) for gradient in self.d_weights.named.values()]
        if self.sparse_embedding:
            parts.append(norms(self._rows))
        norm = norms(torch.stack(parts, 1)) / self.batch_size
        scale = (self.max_norm / norm).clamp_(max=1.0).mul_((lr / -self.batch_size).to(norm.dtype))
        for name, gradient in self.d_weights.named.items():
            parameter = self.weights.named[name]
            parameter.addcmul_(gradient, scale.view(-1, *[1] * (parameter.dim() - 1)))
        if self.sparse_embedding:
            assert self._window.distinct_inputs is not None
            self.weights.embedding[0].index_add_(0, self._window.distinct_inputs[0], self._rows[0] * scale)
        return norm

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients (K, ...) of the loss of the last window, dense, by the parameter's name (tests and analysis)."""
        gradients = dict(self.d_weights.named)
        if self.sparse_embedding:
            assert self._window.distinct_inputs is not None
            gradients["embedding"] = torch.zeros_like(self.weights.embedding)
            gradients["embedding"][0].index_add_(0, self._window.distinct_inputs[0], self._rows[0])
        return {name: gradient / self.batch_size for name, gradient in gradients.items()}
