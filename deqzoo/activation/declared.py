"""What a plug-in declares must at least be numbers that could be true."""

from __future__ import annotations

import math
from typing import Any


def require(activation: Any) -> None:
    """Refuse a slope, curvature or kinks that no function can have.

    Raises:
        ValueError: they are no numbers, NaN, or in no order.
    """
    name, slope = type(activation).__name__, activation.slope
    if not (_are_numbers(slope) and len(slope) == 2 and slope[0] <= slope[1]):
        raise ValueError(
            f"{name} must declare slope as a pair (inf φ', sup φ') of numbers, got {slope!r}"
        )
    curvature = activation.curvature
    if not (_are_numbers((curvature,)) and curvature >= 0):
        raise ValueError(
            f"{name} must declare curvature as the number sup |φ''|, math.inf where φ' jumps, got "
            f"{curvature!r}"
        )
    if not _are_numbers(activation.kinks):
        raise ValueError(
            f"{name} must declare kinks as a tuple of numbers, such as (0.0,), got "
            f"{activation.kinks!r}"
        )


def _are_numbers(values: Any) -> bool:
    return isinstance(values, tuple | list) and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | str | bytes):
        return False
    try:
        return not math.isnan(float(value))
    except (TypeError, ValueError):
        return False
