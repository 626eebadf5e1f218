"""Sets the precision of the matrix products: ``fp32``, ``tf32`` or ``bf16``. Weights, sums and softmaxes stay float32.

``tf32`` rounds a product's operands to 10 bits of mantissa inside the GPU; ``bf16`` rounds them to 7 bits in memory,
which also halves their size. All accumulate in float32. On a GPU a bf16 product's result stays float32; on a CPU it is
rounded too (``matmul.py``), and the recurrence of small models is left in float32. Float64 products are never rounded.
The precision applies to training only: evaluations run in fp32 on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables.config import TrialConfig
from trainables.fused import matmul as products
from trainables.fused import supports

PRECISIONS = ("fp32", "tf32", "bf16")


def default_precision(device: torch.device | str) -> str:
    """``tf32`` on a GPU, ``fp32`` elsewhere."""
    return "tf32" if torch.device(device).type == "cuda" else "fp32"


def bf16_instructions() -> str | None:
    """This CPU's instructions for bf16 products; None if it has none."""
    for name, probe in (("AMX", "_is_amx_tile_supported"), ("AVX512-BF16", "_is_avx512_bf16_supported")):
        # Not part of torch's documented interface: without them, bf16 is not offered.
        if getattr(torch.cpu, probe, lambda: False)():
            return name
    return None


def cpu_precisions() -> tuple[str, ...]:
    """The precisions available on this machine's CPU."""
    return ("fp32", "bf16") if bf16_instructions() else ("fp32",)


def check_precision(precision: str, device: torch.device | str) -> str:
    """Returns the precision if the device supports it.

    Raises:
        ValueError: if the precision is unknown, or not supported by the device.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    kind = torch.device(device).type
    if precision == "tf32" and kind != "cuda":
        raise ValueError(f"precision 'tf32' needs a CUDA device: on {kind!r} it must be fp32 or bf16")
    if precision == "bf16" and kind == "cpu" and bf16_instructions() is None:
        raise ValueError(
            "precision 'bf16' needs a CUDA device or a CPU with AVX512-BF16 or AMX: this CPU has neither, and its bf16 "
            "products would be slower than fp32"
        )
    return precision


def trial_precision(config: TrialConfig, precision: str | None, device: torch.device | str) -> str:
    """The precision that a trial is trained in on a device.

    Args:
        config: the trial.
        precision: the requested one; None for the device's default if the fused step supports the trial, else fp32.
        device: where.

    Raises:
        ValueError: as ``check_precision``, or if it is not fp32 for a trial that is trained by autograd.
    """
    if supports(config):
        return check_precision(precision or default_precision(device), device)
    if precision not in (None, "fp32"):
        raise ValueError(
            f"precision must be fp32 for variant {config.variant!r}, got {precision!r}: the fused step, which alone "
            f"rounds operands, does not support cell {config.cell!r} with {config.dropout} dropout"
        )
    return "fp32"


@contextmanager
def use_precision(precision: str, device: torch.device | str) -> Iterator[None]:
    """Sets the precision of products inside the block; restores the previous one after it.

    A captured CUDA graph keeps the precision that it was captured with.

    Raises:
        ValueError: as ``check_precision``.
    """
    check_precision(precision, device)
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction, products.operand_dtype()
    try:
        # The older of torch's settings, which sets the newer too: if only the newer is set, the older's getters raise.
        matmul.allow_tf32 = precision == "tf32"
        matmul.allow_bf16_reduced_precision_reduction = False  # partial sums stay in float32 too
        products.set_operand_dtype(torch.bfloat16 if precision == "bf16" else None)
        yield
    finally:
        matmul.allow_tf32 = before[0] == "tf32"
        matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction = before[:2]
        products.set_operand_dtype(before[2])
