"""Section 6.2's measures: the distance of two matrices' column spaces (appendix B), and the share of the targets' word
vectors that the hidden states explain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_RTOL = 1e-12  # of the largest eigenvalue of sum h h^T; smaller ones are rounding errors of subtracting the means


def subspace_distance(x: Tensor, y: Tensor, *, centred: bool = False) -> float:
    """Distance between the column spaces of two matrices (appendix B, eq. B.1).

    d^2 = 1 - ||U^T V||_F^2 / C, with U and V orthonormal bases of the two column spaces and C their columns: the mean
    of sin^2 over the principal angles. It is 0 for the same subspace, 1 for orthogonal ones, and does not change when
    either matrix is multiplied from the right by an invertible one.

    Computed as the norm of the residual V - U U^T V, which keeps full precision where the distance is small.

    Args:
        x: (n, d) of full column rank, such as the embedding (V, H).
        y: (n, d) of full column rank, such as the decoder (V, H).
        centred: whether the mean of each column over its n rows is subtracted first. A softmax over the rows of
            W h does not change under W + 1 c^T, so this leaves out the one direction of W that J_aug cannot move.

    Returns:
        The distance, between 0 and 1.

    Raises:
        ValueError: if the shapes differ, there are fewer rows than columns, or a value is not finite.
    """
    if x.dim() != 2 or x.shape != y.shape or x.shape[0] < x.shape[1]:
        raise ValueError(
            f"x and y must be matrices of one shape (n, d) with n >= d, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not (bool(torch.isfinite(x).all()) and bool(torch.isfinite(y).all())):
        raise ValueError("x and y must be finite, got a NaN or an infinity")
    x, y = x.detach().double(), y.detach().double()
    if centred:
        x, y = x - x.mean(0), y - y.mean(0)
    u, _ = torch.linalg.qr(x)
    v, _ = torch.linalg.qr(y)
    residual = v - u @ (u.t() @ v)
    return min(1.0, float(torch.linalg.vector_norm(residual)) / x.shape[1] ** 0.5)


class ExplainedShare:
    """The share of the target word vectors that the hidden states explain, over all tokens that were added.

        R^2 = 1 - min over A, b of sum |u_t - A h_t - b|^2 / sum |u_t - mean u|^2,   u_t = E[y_t]

    that of the least-squares regression of u_t on h_t with an intercept. It is 1 where the hidden states determine the
    targets' vectors, and about H / N by chance. Section 4's argument, that W is E up to a change of basis, needs hidden
    states that explain every direction of u_t.

    Shapes: N tokens, H units, D numbers of a word vector. Sums are kept in float64.
    """

    def __init__(self) -> None:
        self._num = 0
        self._moments: list[Tensor] | None = None
        """Sums of h, u, h h^T and h u^T."""
        self._squares = 0.0

    def add(self, hidden: Tensor, vectors: Tensor) -> None:
        """Adds tokens.

        Args:
            hidden: (N, H), h_t.
            vectors: (N, D), u_t.
        """
        h, u = hidden.detach().double(), vectors.detach().double()
        new = [h.sum(0), u.sum(0), h.t() @ h, h.t() @ u]
        self._moments = new if self._moments is None else [a + b for a, b in zip(self._moments, new, strict=True)]
        self._squares += float(u.square().sum())
        self._num += len(h)

    def value(self) -> float:
        """R^2 of the tokens so far; NaN if their vectors are all the same.

        Raises:
            ValueError: if nothing was added.
        """
        if self._moments is None:
            raise ValueError("an explained share needs at least one token")
        h_sum, u_sum, hh, hu = self._moments
        total = self._squares - float(u_sum.square().sum()) / self._num
        hh = hh - torch.outer(h_sum, h_sum) / self._num
        hu = hu - torch.outer(h_sum, u_sum) / self._num
        explained = float((hu * (torch.linalg.pinv(hh, rtol=_RTOL, hermitian=True) @ hu)).sum())
        return explained / total if total > _RTOL * self._squares else math.nan
