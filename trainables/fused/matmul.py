"""Matrix products and row access with a leading trial axis, by the faster of torch's libraries.

On x86 CPUs oneDNN's float32 product runs 10 to 80 % faster than MKL's on this model's shapes, most where there are few
rows (measured on a Zen 4 core, in GFLOP/s: 700 x 200 x 10,000 at 101 against 87, 35 x 140 x 10,000 at 69 against 45,
20 x 650 x 2,600 at 71 against 48, 20 x 1,500 x 6,000 at 53 against 30), but ``torch.mm`` calls MKL. The operator that
calls oneDNN is the one that torch's compiler emits for a linear layer; where it is missing, and for any other device or
precision, ``torch.matmul`` is used.

On a CPU a stack's products run trial by trial, by the kernels that a single trial uses, so that a trial's numbers are
the same bits for any number of trials. On a GPU they are batched. In bf16 (``precision.py``) the operands are rounded
first, and on a CPU the results too, since oneDNN's bf16 product returns bf16.

Shapes: K trials, V words, H units, n rows.
"""

from __future__ import annotations

import math

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
ONEDNN_MIN_WEIGHTS = 100_000
"""Elements of a step's weights from which oneDNN's product of a few rows is faster: they then exceed a core's cache."""


_operand_dtype: torch.dtype | None = None


class Memory:
    """Tensors reused in every window: the system zeroes each newly allocated one of some megabytes, which takes time.

    Args:
        device: of the tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tensors: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A contiguous tensor with the values that were last written under its name."""
        size = math.prod(shape)
        held = self._tensors.get(name)
        if held is None or held.dtype != dtype or held.numel() < size:
            # An eighth more than needed: later windows may be larger.
            self._tensors[name] = held = torch.empty(size + size // 8, dtype=dtype, device=self._device)
        return held[:size].view(shape)


def operand_dtype() -> torch.dtype | None:
    """The dtype to which float32 operands are rounded before a product; None for no rounding."""
    return _operand_dtype


def set_operand_dtype(dtype: torch.dtype | None) -> None:
    """Sets ``operand_dtype``; call ``precision.use_precision`` instead."""
    global _operand_dtype
    _operand_dtype = dtype


def operand(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Rounds x to ``operand_dtype`` once, for several products.

    Args:
        x: rounded if float32; any other type is returned unchanged.
        out: memory of ``operand_dtype`` and of the shape of x for the result, if x is rounded.
    """
    if _operand_dtype is None or x.dtype != torch.float32:
        return x
    return x.to(_operand_dtype) if out is None else out.copy_(x)


def recurrent_operand(weight: Tensor) -> Tensor:
    """Rounds a weight (K, n, m) for the recurrence's products of a few rows.

    On a CPU only weights that exceed a core's cache are rounded: bf16 products of smaller ones are not faster.
    """
    if weight.device.type == "cpu" and weight[0].numel() < ONEDNN_MIN_WEIGHTS:
        return weight
    return operand(weight)


def _rounded_product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a b of operands rounded to ``operand_dtype``, accumulated in float32.

    On a GPU the result is float32. On a CPU oneDNN's product rounds its result too, to ``operand_dtype``.
    """
    a, b = operand(a), operand(b)
    if a.device.type != "cuda":
        if a.dim() == 3 and a.shape[0] == 1:  # one product is faster than a batch of one
            return torch.mm(a[0], b[0]).unsqueeze(0)
        return torch.mm(a, b, out=out) if a.dim() == 2 else torch.bmm(a, b)
    return (torch.mm if a.dim() == 2 else torch.bmm)(a, b, out_dtype=torch.float32)


def _rounds(a: Tensor) -> bool:
    return _operand_dtype is not None and a.dtype in (torch.float32, _operand_dtype)


def _one_by_one(a: Tensor) -> bool:
    return a.dim() == 3 and a.shape[0] > 1 and a.device.type == "cpu"


def _uses_onednn(x: Tensor) -> bool:
    """Whether a product of (1, n, k) or (n, k) goes to oneDNN."""
    # oneDNN has no product over zero elements, as when a mask drops every unit.
    single = (x.dim() == 2 or x.shape[0] == 1) and x.numel() > 0
    return HAS_ONEDNN_LINEAR and single and x.dtype == torch.float32 and x.device.type == "cpu"


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b + bias, a new tensor in the operands' dtype before rounding; a and b may be transposed views.

    Args:
        a: (K, n, k) or (n, k).
        b: (K, k, m) or (k, m).
        bias: (K, m), with K; added to every row.
    """
    if _one_by_one(a):
        biases = [None] * a.shape[0] if bias is None else bias.split(1)
        return torch.cat([product(*each) for each in zip(a.split(1), b.split(1), biases, strict=True)])
    if _rounds(a):
        result = _rounded_product(a, b).float()
        return result if bias is None else result.add_(bias.unsqueeze(1))
    if not _uses_onednn(a):
        return a @ b if bias is None else torch.baddbmm(bias.unsqueeze(1), a, b)
    if a.dim() == 2:
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")
    return product(a[0], b[0], None if bias is None else bias[0]).unsqueeze(0)


def wide_product(a: Tensor, b: Tensor, memory: Memory, name: str) -> Tensor:
    """a b, contiguous, for results with V columns: in bf16 on a CPU if operands are rounded, else as ``product``.

    Args:
        a: (K, n, k).
        b: (K, k, m).
        memory: holds a bf16 result; oneDNN's float32 product allocates its own.
        name: of the result in the memory; the next result of that name overwrites it.
    """
    if _operand_dtype is None or not _rounds(a) or a.device.type != "cpu":
        return product(a, b)
    out = memory.take(name, (a.shape[0], a.shape[1], b.shape[2]), _operand_dtype)
    for each in zip(a.unbind(0), b.unbind(0), out.unbind(0), strict=True):
        _rounded_product(*each)
    return out


def product_sum(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """c + a b for (K, n, m), (K, n, k) and (K, k, m); a is rounded if b is (``recurrent_operand``).

    A new tensor on a CPU; on a GPU it overwrites c, which saves a copy of it.
    """
    if a.device.type == "cuda":
        return _add_product(c, a, b)
    if _one_by_one(a):
        return torch.cat([product_sum(*each) for each in zip(c.split(1), a.split(1), b.split(1), strict=True)])
    if b.dtype == _operand_dtype:
        return _rounded_product(a, b).float().add_(c)
    if b.numel() < ONEDNN_MIN_WEIGHTS or not _uses_onednn(a):
        return torch.baddbmm(c, a, b)
    return torch.ops.mkldnn._linear_pointwise.binary(a[0], c[0], b[0].t(), None, "add").unsqueeze(0)


def _add_product(out: Tensor, a: Tensor, b: Tensor, *, beta: int = 1) -> Tensor:
    """out = beta out + a b on a GPU, in one kernel after the rounding of operands, if any."""
    if b.dtype == _operand_dtype or (_rounds(a) and out.dtype == torch.float32):
        return torch.baddbmm(out, operand(a), operand(b), out_dtype=torch.float32, beta=beta, out=out)
    return torch.baddbmm(out, a, b, beta=beta, out=out)


def add_outer(out: Tensor, left: Tensor, right: Tensor, *, overwrite: bool, memory: Memory | None = None) -> None:
    """out += left^T right, or out = left^T right.

    Args:
        out: (K, V, H), or any other such matrix, in either memory order.
        left: (K, n, V).
        right: (K, n, H).
        overwrite: whether to overwrite ``out`` instead of adding to it.
        memory: holds the product before it is widened, if it is narrower than ``out``.
    """
    if _one_by_one(out):
        for each in zip(out.split(1), left.split(1), right.split(1), strict=True):
            add_outer(*each, overwrite=overwrite, memory=memory)
        return
    if out.stride(1) == 1:  # unit-major: the product is made in the memory's order
        out, left, right = out.transpose(1, 2), right, left
    if out.device.type == "cuda":
        _add_product(out, left.transpose(1, 2), right, beta=0 if overwrite else 1)
    elif _uses_onednn(out) or _rounds(out):
        left = left.transpose(1, 2)
        outer = product(left, right) if memory is None else wide_product(left, right, memory, "outer")
        if overwrite:
            out.copy_(outer)
        else:
            out.add_(outer)
    else:
        torch.baddbmm(out, left.transpose(1, 2), right, beta=0 if overwrite else 1, out=out)


def shared_rows(table: Tensor, index: Tensor) -> Tensor:
    """The same rows of each trial's table: (K, V, H) at (n,) gives (K, n, H)."""
    if table.shape[0] == 1:
        return table[0].index_select(0, index).unsqueeze(0)
    return table.index_select(1, index)


def gather_rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of each trial's table: (K, V, H) at (K, n) gives (K, n, H)."""
    if table.shape[0] == 1:
        return table[0].index_select(0, index[0]).unsqueeze(0)
    return table[torch.arange(table.shape[0], device=index.device).unsqueeze(1), index]


def sum_rows(rows: Tensor, index: Tensor, num_rows: int) -> Tensor:
    """Sums of the rows that have the same index: (K, n, H) at (K, n) gives (K, num_rows, H).

    On a GPU a product with the indices' indicator matrix, whose sums have a fixed order.
    """
    if rows.device.type == "cpu":
        sums = rows.new_zeros(rows.shape[0], num_rows, rows.shape[-1])
        add_rows(sums, index, rows)
        return sums
    numbers = torch.arange(num_rows, device=index.device).view(1, -1, 1)
    return product((index.unsqueeze(1) == numbers).to(rows.dtype), rows)


def add_rows(table: Tensor, index: Tensor, rows: Tensor) -> None:
    """Adds (K, n, H) to the rows (K, n) of each trial's table (K, V, H); an index may repeat."""
    if table.device.type != "cpu":
        add_rows_flat(table, index, rows)
        return
    for trial in range(table.shape[0]):
        table[trial].index_add_(0, index[trial], rows[trial])


def add_rows_flat(table: Tensor, index: Tensor, rows: Tensor) -> None:
    """``add_rows`` in one call, for a contiguous table.

    On a GPU ``index_add_`` adds in the order of its threads, which varies; this function sorts the indices first, so
    that runs repeat bit for bit.
    """
    k, v, h = table.shape
    flat = (index + torch.arange(k, device=index.device).unsqueeze(1) * v).view(-1)
    # Unsafe: a check of the indices' range would wait for the GPU. They are token ids, which were checked.
    torch.ops.aten._index_put_impl_(table.view(k * v, h), [flat], rows.reshape(-1, h), accumulate=True, unsafe=True)


def norms(x: Tensor) -> Tensor:
    """Euclidean norm of each trial's part of (K, ...); on a CPU one by one, so that its bits do not depend on K."""
    if x.device.type == "cpu":
        return torch.stack([torch.linalg.vector_norm(part) for part in x.unbind(0)])
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())))
