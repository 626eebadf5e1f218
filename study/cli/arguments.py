"""Types of command-line arguments: each says its rule and what was given."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable


def whole(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least ``low``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text) or int(text) < low:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {low}, got {text!r}")
        return int(text)

    return parse


def slots(text: str) -> int | None:
    """An argparse type: a number of slots, or None for ``auto``."""
    return None if text == "auto" else whole(1)(text)


def real(low: float) -> Callable[[str], float]:
    """An argparse type: a finite number of at least ``low``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value < math.inf:
            raise argparse.ArgumentTypeError(f"must be a number of at least {low:g}, got {text!r}")
        return value

    return parse


def seconds(text: str) -> float:
    """An argparse type: a length of time such as 90s, 30m, 2h or 1.5d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"must be a number and a unit (s, m, h or d), such as 90s or 2h, got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
