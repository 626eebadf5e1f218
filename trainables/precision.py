"""Precision of the matrix products: ``fp32``, ``tf32`` or ``bf16``. Weights, sums and softmaxes are float32 in all.

``tf32`` rounds a product's operands to 10 bits of mantissa inside the GPU; ``bf16`` rounds them to 7 bits in memory, so
that they also take half the room. Both accumulate in float32. Float64 products are never rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables import products

PRECISIONS = ("fp32", "tf32", "bf16")


def default_precision(device: torch.device | str) -> str:
    """``tf32`` on a GPU, ``fp32`` elsewhere."""
    return "tf32" if torch.device(device).type == "cuda" else "fp32"


def check_precision(precision: str, device: torch.device | str) -> str:
    """The precision, if the device has it.

    Raises:
        ValueError: if there is no such precision, or not on this device.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "fp32" and torch.device(device).type != "cuda":
        kind = torch.device(device).type
        raise ValueError(f"precision {precision!r} needs a CUDA device: on {kind!r} it must be fp32")
    return precision


@contextmanager
def use_precision(precision: str, device: torch.device | str) -> Iterator[None]:
    """Products inside are of this precision; what held before holds again after.

    A captured CUDA graph keeps the precision that it was captured with.

    Raises:
        ValueError: as ``check_precision``.
    """
    check_precision(precision, device)
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction, products.operand_dtype()
    try:
        matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        matmul.allow_bf16_reduced_precision_reduction = False  # partial sums too stay in float32
        products.set_operand_dtype(torch.bfloat16 if precision == "bf16" else None)
        yield
    finally:
        matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction = before[:2]
        products.set_operand_dtype(before[2])
