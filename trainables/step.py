"""One step of training without autograd: gradients of a window, clipping, SGD, all on buffers made once.

Nothing in it waits for the device: the clipping factor and the learning rate act as tensors, and what depends on the
data's values (the distinct words) is worked out from the CPU's copy of the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.batching import distinct_words
from trainables.config import TrialConfig
from trainables.head import DecoderWeights, Head, Targets, use_compaction
from trainables.layer import LayerBuffers, LayerWeights, layer_backward, layer_forward
from trainables.model import VDLSTM, LSTMLayer, State
from trainables.products import add_rows
from trainables.scores import AugmentedTerm

TARGETS_MULTIPLE = 32
"""Distinct targets are made up to a multiple of this. Tables (U, V) of ever new sizes would leave a process' heap in
pieces: a PTB small trial then held 1.7 GB after two epochs."""


class Step:
    """The training step of one trial.

    The loss is summed over the window's steps and averaged over the streams (zaremba2014); learning rate and clipping
    act on that.

    Args:
        model: its parameters are updated in place, and must not be replaced.
        config: the loss, the clipping, the batch.
        compact: whether the head is compacted; None for the measured rule.
    """

    def __init__(self, model: VDLSTM, config: TrialConfig, *, compact: bool | None = None) -> None:
        self.model, self.config = model, config
        embedding = model.embedding.detach()
        steps, streams, hidden_size = config.bptt, config.batch_size, model.hidden_size
        if compact is None:
            compact = use_compaction(hidden_size, config.drop_prob, embedding.device)
        self.augmented = _augmented_term(config, embedding)
        self.head = Head(1, steps, streams, augmented=self.augmented, compact=compact, like=embedding)
        layers = [layer for layer in model.layers if isinstance(layer, LSTMLayer)]
        self.layers = [layer.stacked() for layer in layers]
        self.buffers = [LayerBuffers(1, steps, streams, hidden_size, like=embedding) for _ in layers]
        self.d_x = [embedding.new_empty(1, steps, streams, hidden_size) for _ in layers]

        self._gradients = {name: torch.empty_like(p.detach()) for name, p in model.named_parameters()}
        # Untied, and with nothing flowing through the target distribution, only the window's own words have a
        # gradient: their rows alone are kept, clipped and updated.
        flows = self.augmented is not None and self.augmented.flow is not None
        self.sparse_embedding = not model.tie_weights and not flows
        if self.sparse_embedding:
            del self._gradients["embedding"]
        self.d_layers = [
            LayerWeights(*(self._gradients[f"layers.{i}.{n}"].unsqueeze(0) for n in ("weight_x", "weight_h", "bias")))
            for i in range(len(layers))
        ]
        decoder, d_embedding = model.decoder.detach().unsqueeze(0), self._stacked_gradient("embedding")
        self.weights = DecoderWeights(
            decoder=decoder,
            bias=None if model.decoder_bias is None else model.decoder_bias.detach().unsqueeze(0),
            embedding=decoder if model.tie_weights else embedding.unsqueeze(0),
        )
        d_decoder = d_embedding if model.tie_weights else self._stacked_gradient("decoder_weight")
        assert d_decoder is not None
        self.d_weights = DecoderWeights(
            decoder=d_decoder, bias=self._stacked_gradient("decoder_bias"), embedding=d_embedding
        )
        self.max_norm = embedding.new_full((), config.max_grad_norm)

    def _stacked_gradient(self, name: str) -> Tensor | None:
        gradient = self._gradients.get(name)
        return None if gradient is None else gradient.unsqueeze(0)

    @torch.no_grad()
    def gradients(
        self, inputs: Tensor, targets: Tensor, masks: Tensor, kept: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Forward and backward over a window; the gradients, summed over the streams, stay in the step.

        Args:
            inputs: (T, B) token ids on the CPU.
            targets: (T, B) token ids on the CPU.
            masks: (L + 1, B, H), scaled, on the model's device.
            kept: (L + 1, B, H) booleans on the CPU.
            state: carried in.

        Returns:
            Sums of J and of J_aug over the window's tokens, each a scalar tensor, and the state to carry on.
        """
        device = masks.device
        words = inputs.reshape(-1)
        self._words = words.to(device, non_blocking=True)
        if self.sparse_embedding:
            self._input_words, self._input_index = (x.to(device, non_blocking=True) for x in distinct_words(words))
        x = self._layer_input(masks)
        steps, xs = inputs.shape[0], []
        for index, (weights, buffers) in enumerate(zip(self.layers, self.buffers, strict=True)):
            xs.append(x)
            hidden, cell = (s[index].unsqueeze(0) for s in state)
            x = layer_forward(x, weights, masks[index + 1].unsqueeze(0), hidden, cell, buffers)
        losses = self.head(x, kept[-1].unsqueeze(0), self._targets(targets, device), self.weights, self.d_weights)
        d_x = self.head.d_hidden.view(1, steps, inputs.shape[1], -1)
        for index in range(len(self.layers) - 1, -1, -1):
            weights, buffers, mask = self.layers[index], self.buffers[index], masks[index + 1].unsqueeze(0)
            layer_backward(d_x, xs[index], weights, mask, buffers, self.d_layers[index], self.d_x[index])
            d_x = self.d_x[index]
        self._embedding_gradient(d_x, masks)
        new_state = (
            torch.cat([b.final_hidden for b in self.buffers]),
            torch.cat([b.final_cell for b in self.buffers]),
        )
        return losses[0][0], losses[1][0], new_state

    def _layer_input(self, masks: Tensor) -> Tensor:
        config = self.config
        x = F.embedding(self._words, self.model.embedding.detach()).view(1, config.bptt, config.batch_size, -1)
        return x.mul_(masks[0]) if config.input_dropout else x

    def _targets(self, targets: Tensor, device: torch.device) -> Targets:
        words = targets.reshape(1, -1).to(device, non_blocking=True)
        if self.augmented is None:
            return Targets(words)
        distinct, index = distinct_words(targets, multiple_of=TARGETS_MULTIPLE)
        return Targets(
            words,
            distinct.unsqueeze(0).to(device, non_blocking=True),
            index.unsqueeze(0).to(device, non_blocking=True),
        )

    def _embedding_gradient(self, d_x: Tensor, masks: Tensor) -> None:
        if self.config.input_dropout:
            d_x.mul_(masks[0])
        rows = d_x.view(1, -1, self.model.hidden_size)
        if self.sparse_embedding:
            self._rows = rows.new_zeros(self._input_words.numel(), rows.shape[-1])
            self._rows.index_add_(0, self._input_index, rows[0])
        else:
            add_rows(self._gradients["embedding"].unsqueeze(0), self._words.unsqueeze(0), rows)

    @torch.no_grad()
    def update(self, lr: float) -> Tensor:
        """Clips the gradients by their global norm and takes a step of plain SGD.

        A tied matrix has one gradient and counts once.

        Returns:
            The norm before clipping, of the loss averaged over the streams, as a scalar tensor.
        """
        streams = self.config.batch_size
        parts = [torch.linalg.vector_norm(g) for g in self._all_gradients()]
        norm = torch.linalg.vector_norm(torch.stack(parts)) / streams
        scale = (self.max_norm / norm).clamp_(max=1.0).mul_(-lr / streams)
        for name, gradient in self._gradients.items():
            self.model.get_parameter(name).addcmul_(gradient, scale)
        if self.sparse_embedding:
            self.model.embedding.index_add_(0, self._input_words, self._rows * scale)
        return norm

    def _all_gradients(self) -> Iterator[Tensor]:
        yield from self._gradients.values()
        if self.sparse_embedding:
            yield self._rows

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients of the loss of the last window, dense, by the parameter's name (for tests and analysis)."""
        gradients = dict(self._gradients)
        if self.sparse_embedding:
            embedding = self.model.embedding.detach()
            gradients["embedding"] = torch.zeros_like(embedding).index_add_(0, self._input_words, self._rows)
        return {name: g / self.config.batch_size for name, g in gradients.items()}


def _augmented_term(config: TrialConfig, like: Tensor) -> AugmentedTerm | None:
    if config.tau is None or config.gamma is None:
        return None
    one = like.new_ones(1, 1, 1)
    flow = one if config.target_gradient == "flow" else None
    return AugmentedTerm(tau=one * config.tau, gamma=one * config.gamma, flow=flow)
