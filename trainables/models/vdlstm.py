"""VDLSTM: the paper's language model, its named parameters, its masks and its evaluation.

Shapes: T steps, B streams, H units of every layer and of a word vector, V words, L layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.fused.layer import LayerWeights, run_layers
from trainables.recipes import NUM_LAYERS

State = tuple[Tensor, Tensor]
"""(hidden, cell), each (L, B, H); the hidden state is the undropped one."""


class LSTMLayer(nn.Module):
    """The weights of one layer; ``layer.py`` has its equations and the order of its gates.

    Args:
        hidden_size: H, of the layer and of its input.
    """

    def __init__(self, hidden_size: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__()
        h = hidden_size
        # In memory (H, 4H), the order in which the products of a CPU run fastest.
        self.weight_x = nn.Parameter(torch.empty(h, 4 * h, device=device, dtype=dtype).t())
        self.weight_h = nn.Parameter(torch.empty(h, 4 * h, device=device, dtype=dtype).t())
        self.bias = nn.Parameter(torch.empty(4 * h, device=device, dtype=dtype))

    def stacked(self) -> LayerWeights:
        """The weights with a leading trial axis of one; views, so an update in place is seen."""
        return LayerWeights(
            x=self.weight_x.detach().unsqueeze(0),
            h=self.weight_h.detach().unsqueeze(0),
            bias=self.bias.detach().unsqueeze(0),
        )


class VDLSTM(nn.Module):
    """The variational-dropout LSTM language model (section 6.1, appendix A).

    Tied (RE), the decoder is the embedding, the same parameter, and there is no output bias (section 4). Untied, it is
    a matrix of its own with a bias (eq. 2.3).

    Args:
        vocab_size: V.
        hidden_size: H.
        tie_weights: RE.
        init_range: weights start uniform in [-init_range, init_range], biases at zero.
        generator: draws the weights; a CPU generator, so that the same seed gives the same weights on every device and
            in every precision. The embedding and the layers of a tied and of an untied model then agree too.
        word_major: whether the decoder's memory holds a word's vector contiguously (V, H) or a unit's weights (H, V).
            The parameter's shape is (V, H) either way and so are its values; only the speed differs: the head's CPU
            products run 5 to 15 % faster on (H, V), a GPU gathers words faster from (V, H).
        device: where the parameters live; ``meta`` builds shapes alone.
        dtype: of the parameters.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        *,
        tie_weights: bool,
        init_range: float,
        generator: torch.Generator | None = None,
        word_major: bool = True,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        v, h = vocab_size, hidden_size
        self.vocab_size, self.hidden_size, self.tie_weights = v, h, tie_weights

        def matrix(major: bool) -> nn.Parameter:
            data = torch.empty((v, h) if major else (h, v), device=device, dtype=dtype)
            return nn.Parameter(data if major else data.t())

        self.embedding = matrix(word_major or not tie_weights)
        self.layers = nn.ModuleList(LSTMLayer(h, device=device, dtype=dtype) for _ in range(NUM_LAYERS))
        self.decoder_weight: nn.Parameter | None = None
        self.decoder_bias: nn.Parameter | None = None
        if not tie_weights:
            self.decoder_weight = matrix(word_major)
            self.decoder_bias = nn.Parameter(torch.empty(v, device=device, dtype=dtype))
        if torch.device(device).type != "meta":
            self.reset_parameters(init_range, generator)

    @classmethod
    def from_config(
        cls,
        config: TrialConfig,
        *,
        generator: torch.Generator | None = None,
        word_major: bool = True,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VDLSTM:
        """The model of a trial."""
        return cls(
            config.vocab_size,
            config.hidden_size,
            tie_weights=config.tie_weights,
            init_range=config.init_range,
            generator=generator,
            word_major=word_major,
            device=device,
            dtype=dtype,
        )

    @torch.no_grad()
    def reset_parameters(self, init_range: float, generator: torch.Generator | None = None) -> None:
        """Draws the weights anew, uniform in [-init_range, init_range], and sets every bias to zero (zaremba2014)."""
        decoder = [p for p in (self.decoder_weight, self.decoder_bias) if p is not None]  # last: see ``generator``
        for parameter in (self.embedding, *self.layers.parameters(), *decoder):
            if parameter.dim() == 1:
                parameter.zero_()
            else:  # drawn in float32 on the CPU, whatever the model's precision and device
                draw = torch.rand(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.copy_(draw.mul_(2 * init_range).sub_(init_range))

    @property
    def decoder(self) -> nn.Parameter:
        """W (V, H) of eq. 2.3; tied, the embedding itself."""
        return self.embedding if self.decoder_weight is None else self.decoder_weight

    @property
    def num_params(self) -> int:
        """Trainable parameters; a tied matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def zero_state(self, batch_size: int) -> State:
        """The state at an epoch's start."""
        shape = (NUM_LAYERS, batch_size, self.hidden_size)
        return self.embedding.new_zeros(shape), self.embedding.new_zeros(shape)

    @torch.no_grad()
    def hidden_states(self, inputs: Tensor, state: State, masks: Tensor | None = None) -> tuple[Tensor, State]:
        """The top layer's (dropped) hidden states over a window.

        Args:
            inputs: (T, B) token ids.
            state: carried in from the window before.
            masks: (L + 1, B, H) as ``draw_masks`` gives them, the first for the first layer's input; None for no
                dropout, as in evaluation.

        Returns:
            (T, B, H) and the state to carry on.
        """
        x = torch.nn.functional.embedding(inputs, self.embedding.detach())
        if masks is not None:
            x = x * masks[0]
        layers = [layer.stacked() for layer in self.layers if isinstance(layer, LSTMLayer)]
        hidden, cell = (s.unsqueeze(1) for s in state)
        upper = None if masks is None else masks[1:].unsqueeze(1)
        x, (hidden, cell) = run_layers(x.unsqueeze(0), layers, upper, (hidden, cell))
        return x[0], (hidden.squeeze(1), cell.squeeze(1))

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """W h + b (eq. 2.3).

        Args:
            hidden: (..., H).

        Returns:
            (..., V).
        """
        return nn.functional.linear(hidden, self.decoder.detach(), self.decoder_bias)

    def forward(self, inputs: Tensor, state: State, masks: Tensor | None = None) -> tuple[Tensor, State]:
        """Logits (T, B, V) of a window and the state to carry on; arguments as in ``hidden_states``. No gradients."""
        hidden, state = self.hidden_states(inputs, state, masks)
        return self.logits(hidden), state


def draw_masks(batch_size: int, hidden_size: int, drop_prob: float, generator: torch.Generator) -> Tensor:
    """Which units a window keeps: one draw per example and layer, the same at every step (appendix A).

    Drawn in float32 on the CPU, so that a seed gives the same masks on every device and in every precision. The
    input's mask is drawn whether it is used or not, so that it does not shift the other layers' masks.

    Args:
        batch_size: B.
        hidden_size: H.
        drop_prob: probability that a unit is dropped.
        generator: advanced by (L + 1) B H numbers.

    Returns:
        Booleans (L + 1, B, H), True where a unit is kept: the first layer's input, then each layer's output.
        ``scale_masks`` turns them into m = Bernoulli(keep) / keep.
    """
    return torch.rand((NUM_LAYERS + 1, batch_size, hidden_size), generator=generator) >= drop_prob


def scale_masks(kept: Tensor, drop_prob: float, *, input_dropout: bool, like: Tensor) -> Tensor:
    """m = Bernoulli(keep) / keep, of mean one.

    Args:
        kept: (L + 1, B, H) from ``draw_masks``.
        drop_prob: as there.
        input_dropout: whether the first layer's input is masked; if not, its mask is all ones.
        like: gives dtype and device.

    Returns:
        (L + 1, B, H).
    """
    masks = kept.to(like.device, non_blocking=True).to(like.dtype).mul_(1.0 / (1.0 - drop_prob))
    if not input_dropout:
        masks[0].fill_(1.0)
    return masks
