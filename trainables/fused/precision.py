"""Precision of the matrix products: ``fp32``, ``tf32`` or ``bf16``. Weights, sums and softmaxes are float32 in all.

``tf32`` rounds a product's operands to 10 bits of mantissa inside the GPU; ``bf16`` rounds them to 7 bits in memory, so
that they also take half the room. All accumulate in float32. On a GPU a bf16 product's result stays float32; on a CPU
it is rounded too (``matmul.py``), and the recurrence of small models is left in float32. Float64 products are never
rounded. Precision is that of training: evaluations are made in fp32 on every device, so that perplexities differ by
training alone.
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
    """The instructions by which this machine's CPU multiplies bf16 numbers; None if it has none."""
    for name, probe in (("AMX", "_is_amx_tile_supported"), ("AVX512-BF16", "_is_avx512_bf16_supported")):
        # They are not part of torch's documented interface: a release without them is one without bf16 here.
        if getattr(torch.cpu, probe, lambda: False)():
            return name
    return None


def cpu_precisions() -> tuple[str, ...]:
    """The precisions that pay on this machine's CPU."""
    return ("fp32", "bf16") if bf16_instructions() else ("fp32",)


def check_precision(precision: str, device: torch.device | str) -> str:
    """The precision, if the device has it.

    Raises:
        ValueError: if there is no such precision, or not on this device.
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
        precision: what was asked for; None for the device's default where the fused step supports the trial, and for
            fp32 where it does not.
        device: where.

    Raises:
        ValueError: as ``check_precision``, or if a trial that is trained by autograd is asked for another than fp32.
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
    """Products inside are of this precision; what held before holds again after.

    A captured CUDA graph keeps the precision that it was captured with.

    Raises:
        ValueError: as ``check_precision``.
    """
    check_precision(precision, device)
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction, products.operand_dtype()
    try:
        # By the older of torch's settings, which sets the newer too; after the newer alone, the older's getters raise.
        matmul.allow_tf32 = precision == "tf32"
        matmul.allow_bf16_reduced_precision_reduction = False  # partial sums too stay in float32
        products.set_operand_dtype(torch.bfloat16 if precision == "bf16" else None)
        yield
    finally:
        matmul.allow_tf32 = before[0] == "tf32"
        matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction = before[:2]
        products.set_operand_dtype(before[2])
