"""LanguageModel: input x cells x dropout x output, in plain autograd.

Shapes: T steps, B streams, H units of every layer and of a word vector, V words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainables.models.cells import Cell, CellState
from trainables.models.dropout import Dropout, LayerMasks, Masks, drop
from trainables.models.inputs import WordLookup
from trainables.models.outputs import Softmax

State = tuple[CellState, ...]
"""The state of each layer, from the lowest; its content is defined by the layer's cell."""


class LanguageModel(nn.Module):
    """A recurrent language model of exchangeable parts.

    Its parameters are named ``embedding``, ``decoder_weight``, ``layers.0.weight_x`` and so on, in checkpoints too:
    those of input and output by their own names, those of a layer after its number.

    Args:
        inputs: maps word ids to the first layer's input.
        layers: from the lowest to the top.
        dropout: draws the masks; None for no dropout.
        outputs: maps hidden states to scores and losses.
    """

    embedding: nn.Parameter
    decoder_weight: nn.Parameter | None
    decoder_bias: nn.Parameter | None

    def __init__(self, inputs: WordLookup, layers: Sequence[Cell], dropout: Dropout | None, outputs: Softmax) -> None:
        super().__init__()
        self.dropout = dropout
        self._parts = inputs, outputs  # in a tuple: submodules would prefix the names of their parameters
        for part in self._parts:
            for name, parameter in part._parameters.items():
                self.register_parameter(name, parameter)
        self.layers = nn.ModuleList(layers)

    @property
    def inputs(self) -> WordLookup:
        """The input part."""
        return self._parts[0]

    @property
    def outputs(self) -> Softmax:
        """The output part."""
        return self._parts[1]

    @property
    def cells(self) -> list[Cell]:
        """The layers, from the lowest to the top."""
        return [layer for layer in self.layers if isinstance(layer, Cell)]

    def reset_parameters(self, init_range: float, generator: torch.Generator | None = None) -> None:
        """Draws all weights anew (``Part.reset_parameters``).

        Draws the output's last, so that a tied and an untied model of one seed agree in all others.
        """
        for part in (self.inputs, *self.cells, self.outputs):
            part.reset_parameters(init_range, generator)

    @property
    def decoder(self) -> nn.Parameter:
        """W (V, H) of eq. 2.3; tied, the embedding itself."""
        return self.outputs.decoder(self.embedding)

    @property
    def num_params(self) -> int:
        """Trainable parameters; a tied matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def zero_state(self, batch_size: int) -> State:
        """The state at the start of an epoch or a text."""
        return tuple(cell.zero_state(batch_size) for cell in self.cells)

    def hidden_states(self, words: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """The top layer's (dropped) hidden states over a window.

        Args:
            words: (T, B) token ids.
            state: carried in from the window before.
            masks: from ``dropout``; None for no dropout, as in evaluation.

        Returns:
            (T, B, H) and the state to carry on.
        """
        masks = masks or Masks(layers=(LayerMasks(),) * len(self.layers))
        x, carried = self.inputs(words), list[CellState]()
        for cell, before, layer_masks in zip(self.cells, state, masks.layers, strict=True):
            x, after = cell(x, before, layer_masks)
            carried.append(after)
        return drop(x, masks.output), tuple(carried)

    def logits(self, hidden: Tensor) -> Tensor:
        """W h + b (..., V) of hidden states (..., H) (eq. 2.3)."""
        return self.outputs(hidden, self.embedding)

    def forward(self, words: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """Logits (T, B, V) of a window and the state to carry on; arguments as in ``hidden_states``."""
        hidden, state = self.hidden_states(words, state, masks)
        return self.logits(hidden), state

    def losses(
        self,
        words: Tensor,
        targets: Tensor,
        state: State,
        masks: Masks | None = None,
        *,
        gamma: float | None = None,
        tau: float | None = None,
        target_gradient: str | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, State]:
        """J_tot, J and J_aug (eq. 3.3) of each token of a window, and the state to carry on, which has no gradient.

        Args:
            words: (T, B) token ids.
            targets: (T, B) token ids.
            state: carried in.
            masks: from ``dropout``.
            gamma: as in ``total_loss``.
            tau: as in ``total_loss``.
            target_gradient: as in ``total_loss``.

        Returns:
            Three times (T, B), in nats, and the state.
        """
        hidden, state = self.hidden_states(words, state, masks)
        losses = self.outputs.losses(
            hidden, targets, self.embedding, gamma=gamma, tau=tau, target_gradient=target_gradient
        )
        return *losses, tuple(tuple(x.detach() for x in layer) for layer in state)
