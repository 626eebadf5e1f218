"""Appendix B: the distance between the subspaces that two matrices' columns span."""

from __future__ import annotations

import torch
from torch import Tensor


def subspace_distance(x: Tensor, y: Tensor) -> float:
    """Distance between the column spaces of two matrices (appendix B, eq. B.1).

    d^2 = 1 - ||U^T V||_F^2 / C, with U and V orthonormal bases of the two column spaces and C their columns: the mean
    of sin^2 over the principal angles. It is 0 for the same subspace, 1 for orthogonal ones, and does not change when
    either matrix is multiplied from the right by an invertible one.

    Computed as the norm of the residual V - U U^T V, which keeps full precision where the distance is small.

    Args:
        x: (n, d) of full column rank, such as the embedding (V, H).
        y: (n, d) of full column rank, such as the decoder (V, H).

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
    u, _ = torch.linalg.qr(x.detach().double())
    v, _ = torch.linalg.qr(y.detach().double())
    residual = v - u @ (u.t() @ v)
    return min(1.0, float(torch.linalg.vector_norm(residual)) / x.shape[1] ** 0.5)
