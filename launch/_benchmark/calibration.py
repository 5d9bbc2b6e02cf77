"""Everybody is stopped at the same measured residual, by the loosest tolerance that reaches it."""

from __future__ import annotations

import math
from collections.abc import Callable

_GRID = 24  # tolerances a decade: neighbours are 10 % apart, one Picard step at rho = 0.9
_DECADES = 5


def loosest(residual: Callable[[float], float], target: float) -> float | None:
    """The largest tolerance of a grid whose measured residual is at most ``target``, or None.

    It starts from a guess, because the residual is nearly proportional to the tolerance, walks with
    growing strides to a bracket and bisects it.
    """
    tried: dict[int, bool] = {}

    def reaches(place: int) -> bool:
        if place not in tried:
            tried[place] = residual(_tolerance(target, place)) <= target  # False for NaN
        return tried[place]

    first = residual(target)
    tried[0] = first <= target
    place = _guess(target, first)
    stride = 2
    step = 1 if reaches(place) else -1
    while reaches(place) == reaches(place + step * stride):
        place += step * stride
        stride *= 2
        if abs(place) > _GRID * _DECADES:
            return _tolerance(target, place) if reaches(place) else None
    inside, outside = sorted((place, place + step * stride))
    while outside - inside > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if reaches(middle) else (inside, middle)
    return _tolerance(target, inside)


def _tolerance(target: float, place: int) -> float:
    return target * 10 ** (place / _GRID)


def _guess(target: float, first: float) -> int:
    if not (math.isfinite(first) and first > 0):
        return 0
    furthest = _GRID * (_DECADES - 1)
    return max(-furthest, min(furthest, round(_GRID * math.log10(target / first))))
