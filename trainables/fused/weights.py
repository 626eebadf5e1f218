"""The weights of K trials of one shape, stacked along a leading trial axis."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.fused.head import DecoderWeights
from trainables.fused.layer import LayerWeights
from trainables.models import build_model
from trainables.models.base import LanguageModel


class StackWeights:
    """K trials' parameters, or their gradients.

    Args:
        named: (K, ...) by the parameter's name, in the order of the model's ``named_parameters``.
        tie_weights: RE.
    """

    def __init__(self, named: Mapping[str, Tensor], *, tie_weights: bool) -> None:
        self.named, self.tie_weights = dict(named), tie_weights
        names, self.layers = ("weight_x", "weight_h", "bias"), list[LayerWeights]()
        while f"layers.{len(self.layers)}.bias" in self.named:
            self.layers.append(LayerWeights(*(self.named[f"layers.{len(self.layers)}.{n}"] for n in names)))
        embedding = self.named.get("embedding")
        decoder = embedding if tie_weights else self.named["decoder_weight"]
        assert decoder is not None
        self.decoder = DecoderWeights(decoder=decoder, bias=self.named.get("decoder_bias"), embedding=embedding)

    @classmethod
    def of(cls, model: LanguageModel) -> StackWeights:
        """A stack of one: views of the model's parameters."""
        named = {name: p.detach().unsqueeze(0) for name, p in model.named_parameters()}
        return cls(named, tie_weights=model.outputs.tied)

    @classmethod
    def zeros(
        cls, num_trials: int, config: TrialConfig, *, device: torch.device | str, dtype: torch.dtype
    ) -> StackWeights:
        """A stack of zeros of the config's shape; each trial's memory order is that of a single trial."""
        word_major = torch.device(device).type != "cpu"
        shapes = build_model(config, word_major=word_major, device="meta")
        named = {}
        for name, p in shapes.named_parameters():
            transposed = p.dim() == 2 and not p.is_contiguous()
            shape = p.shape[::-1] if transposed else p.shape
            zeros = torch.zeros((num_trials, *shape), device=device, dtype=dtype)
            named[name] = zeros.transpose(1, 2) if transposed else zeros
        return cls(named, tie_weights=config.tie_weights)

    @property
    def num_trials(self) -> int:
        """K."""
        return self.decoder.decoder.shape[0]

    @property
    def embedding(self) -> Tensor:
        """(K, V, H)."""
        return self.named["embedding"]

    def like_without(self, *names: str) -> StackWeights:
        """Uninitialised memory for the gradients of all parameters but these."""
        named = {name: torch.empty_like(p) for name, p in self.named.items() if name not in names}
        return StackWeights(named, tie_weights=self.tie_weights)

    def trial(self, index: int) -> dict[str, Tensor]:
        """One trial's parameters by name: views."""
        return {name: p[index] for name, p in self.named.items()}

    def zero_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """(hidden, cell), each (L, K, B, H)."""
        shape = (len(self.layers), self.num_trials, batch_size, self.embedding.shape[-1])
        return self.embedding.new_zeros(shape), self.embedding.new_zeros(shape)


def check_weights(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Checks that weights have our names and shapes.

    Raises:
        ValueError: if names or shapes differ.
    """
    expected = {name: tuple(p.shape) for name, p in ours.items()}
    given = {name: tuple(p.shape) for name, p in theirs.items()}
    if expected != given:
        raise ValueError(f"the weights must be {expected}, got {given}")


def to_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies weights to the CPU."""
    return {name: p.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for name, p in weights.items()}
