"""What a plug-in declares must at least be numbers that could be true."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from deqzoo.settings import quoted


def kinds(activation: Any) -> Iterator[tuple[str, str, Any, bool]]:
    """Name, kind, what is declared, and whether it is of that kind."""
    slope = activation.slope
    two = isinstance(slope, tuple | list) and len(slope) == 2 and all(map(_is_finite, slope))
    yield "slope", "(inf φ', sup φ'), both finite", slope, two and slope[0] <= slope[1]
    curvature = activation.curvature
    yield "curvature", "a number >= 0", curvature, _is_number(curvature) and curvature >= 0
    kinks = activation.kinks
    points = isinstance(kinks, tuple) and all(map(_is_finite, kinks))
    yield "kinks", "a tuple of finite numbers", kinks, points


def require(activation: Any) -> None:
    """Refuse a slope, curvature or kinks that no function can have.

    Raises:
        ValueError: they are of another kind.
    """
    for name, kind, found, holds in kinds(activation):
        if not holds:
            plugin = type(activation).__name__
            raise ValueError(f"{plugin} must declare {name} as {kind}, got {quoted(found)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)
