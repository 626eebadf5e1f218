"""The output part: maps hidden states to the words' scores and to the losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.models.losses import total_loss
from trainables.models.part import Part, matrix


class Softmax(Part):
    """A softmax over W h + b (eq. 2.3).

    Its parameters are ``decoder_weight`` (V, H) and ``decoder_bias`` (V,), or None.

    Args:
        vocab_size: V.
        hidden_size: H.
        tied: whether W is the embedding, an argument of the methods (section 4); if not, it is a parameter here.
        bias: whether there is a b.
        word_major: as in ``build_model``.
        device: of the weights.
        dtype: of the weights.
    """

    decoder_weight: nn.Parameter | None
    decoder_bias: nn.Parameter | None

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        *,
        tied: bool,
        bias: bool,
        word_major: bool,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.vocab_size, self.tied = vocab_size, tied
        weight = None if tied else matrix(vocab_size, hidden_size, row_major=word_major, device=device, dtype=dtype)
        self.register_parameter("decoder_weight", weight)
        self.register_parameter(
            "decoder_bias", nn.Parameter(torch.empty(vocab_size, device=device, dtype=dtype)) if bias else None
        )

    def decoder(self, embedding: nn.Parameter) -> nn.Parameter:
        """W (V, H): the embedding itself when tied."""
        return embedding if self.decoder_weight is None else self.decoder_weight

    def forward(self, hidden: Tensor, embedding: nn.Parameter) -> Tensor:
        """Scores W h + b (..., V) of hidden states (..., H)."""
        return F.linear(hidden, self.decoder(embedding), self.decoder_bias)

    def losses(
        self,
        hidden: Tensor,
        targets: Tensor,
        embedding: nn.Parameter,
        *,
        gamma: float | None = None,
        tau: float | None = None,
        target_gradient: str | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """J_tot, J and J_aug of each token.

        Args:
            hidden: (..., H), the top layer's dropped hidden states.
            targets: (...) token ids.
            embedding: (V, H).
            gamma: as in ``total_loss``.
            tau: as in ``total_loss``.
            target_gradient: as in ``total_loss``; read with the augmented loss only.
        """
        return total_loss(
            hidden, targets, embedding=embedding, decoder=self.decoder(embedding), bias=self.decoder_bias, gamma=gamma,
            tau=tau, target_gradient=target_gradient or "stop",
        )  # fmt: skip
