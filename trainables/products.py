"""Matrix products and row access with a leading trial axis, by the faster library that torch carries.

On x86 CPUs oneDNN's float32 product runs 10 to 80 % faster than MKL's on this model's shapes, most where there are few
rows (measured on a Zen 4 core, in GFLOP/s: 700 x 200 x 10,000 at 101 against 87, 35 x 140 x 10,000 at 69 against 45,
20 x 650 x 2,600 at 71 against 48, 20 x 1,500 x 6,000 at 53 against 30), but ``torch.mm`` calls MKL. The operator that
reaches oneDNN is the one that torch's own compiler emits for a linear layer; where it is missing, and for any other
device or precision, ``torch.matmul`` is used.

Shapes: K trials, V words, H units, n rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _has_onednn_linear() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        torch.ops.mkldnn._linear_pointwise(torch.ones(1, 1), torch.ones(1, 1), None, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True


HAS_ONEDNN_LINEAR = _has_onednn_linear()
ONEDNN_MIN_WEIGHTS = 500_000
"""Elements of a step's weights from which oneDNN's product of a few rows wins: where they outgrow a core's cache."""


def _uses_onednn(x: Tensor) -> bool:
    """Whether a product of (1, n, k) or (n, k) goes to oneDNN."""
    single = x.dim() == 2 or x.shape[0] == 1
    return HAS_ONEDNN_LINEAR and single and x.dtype == torch.float32 and x.device.type == "cpu"


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b + bias, a new tensor; a and b may be transposed views.

    Args:
        a: (K, n, k) or (n, k).
        b: (K, k, m) or (k, m).
        bias: (K, m), with K; added to every row.
    """
    if not _uses_onednn(a):
        return a @ b if bias is None else torch.baddbmm(bias.unsqueeze(1), a, b)
    if a.dim() == 2:
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")
    return product(a[0], b[0], None if bias is None else bias[0]).unsqueeze(0)


def product_sum(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """c + a b, a new tensor, for (K, n, m), (K, n, k) and (K, k, m)."""
    if b.numel() < ONEDNN_MIN_WEIGHTS or not _uses_onednn(a):
        return torch.baddbmm(c, a, b)
    return torch.ops.mkldnn._linear_pointwise.binary(a[0], c[0], b[0].t(), None, "add").unsqueeze(0)


def add_outer(out: Tensor, left: Tensor, right: Tensor, *, overwrite: bool) -> None:
    """out += left^T right, or out = left^T right.

    Args:
        out: (K, V, H), or any other such matrix, in either memory order.
        left: (K, n, V).
        right: (K, n, H).
        overwrite: whether what ``out`` held is dropped.
    """
    if out.stride(1) == 1:  # unit-major: the product comes out in the memory's order
        out, left, right = out.transpose(1, 2), right, left
    if _uses_onednn(out):
        outer = product(left.transpose(1, 2), right)
        if overwrite:
            out.copy_(outer)
        else:
            out.add_(outer)
    else:
        torch.baddbmm(out, left.transpose(1, 2), right, beta=0 if overwrite else 1, out=out)


def gather_rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of each trial's table: (K, V, H) at (K, n) gives (K, n, H)."""
    if table.shape[0] == 1:
        return table[0].index_select(0, index[0]).unsqueeze(0)
    return table[torch.arange(table.shape[0], device=index.device).unsqueeze(1), index]


def add_rows(table: Tensor, index: Tensor, rows: Tensor) -> None:
    """Adds (K, n, H) to the rows (K, n) of each trial's table (K, V, H); an index may repeat."""
    for trial in range(table.shape[0]):
        table[trial].index_add_(0, index[trial], rows[trial])
