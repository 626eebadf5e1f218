"""The input part: maps word ids to the first layer's input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.models.part import Part, matrix


class WordLookup(Part):
    """Looks up each word's vector in the embedding (V, H), the paper's L^T.

    Args:
        vocab_size: V.
        hidden_size: H, numbers of a word's vector.
        word_major: as in ``build_model``.
        device: of the matrix.
        dtype: of the matrix.
    """

    def __init__(
        self, vocab_size: int, hidden_size: int, *, word_major: bool, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.embedding = matrix(vocab_size, hidden_size, row_major=word_major, device=device, dtype=dtype)

    def forward(self, words: Tensor) -> Tensor:
        """Vectors (T, B, H) of word ids (T, B)."""
        return F.embedding(words, self.embedding)
