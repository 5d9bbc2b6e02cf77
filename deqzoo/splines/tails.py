"""The lines that an activation approaches far out, and from where on it is near them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deqzoo.activation.contract import Activation

_FAR, _FARTHEST, _POINTS = 1e3, 1e6, 4000
_STILL = 0.01  # what φ may change against its line beyond _FAR
_AT_LIMIT = 1e-9  # by which a slope far out may differ from its limit


@dataclass(frozen=True)
class Tails:
    """Slopes of the lines, and how much φ still changes against them from a point on.

    Attributes:
        left: lim φ'(x), x -> -∞.
        right: lim φ'(x), x -> ∞.
        size: |x| of the points, increasing.
        changes: sup |φ(y) - φ(x) - a(y - x)| over |y| >= |x|, rows left and right.
    """

    left: float
    right: float
    size: Float[np.ndarray, " points"]
    changes: Float[np.ndarray, "2 points"]

    def within(self, error: float) -> tuple[float, float]:
        """The innermost points from which on φ changes by no more than ``error``."""
        small = self.changes <= error
        ends = [self.size[np.argmax(row)] if np.any(row) else self.size[-1] for row in small]
        return -float(ends[0]), float(ends[1])


def tails(activation: Activation) -> Tails:
    """The lines that φ approaches, measured up to |x| = 1e6.

    Raises:
        ValueError: φ approaches none.
    """
    size = np.concatenate([np.linspace(0, 20, _POINTS)[1:], np.geomspace(20, _FARTHEST, _POINTS)])
    rows, slopes = [], []
    for sign in (-1.0, 1.0):
        slope = _limit(activation, sign * size[-1])
        beside = activation.in_float64(sign * size) - slope * sign * size
        least, most = (f.accumulate(beside[::-1])[::-1] for f in (np.minimum, np.maximum))
        rows.append(np.maximum(beside - least, most - beside))
        slopes.append(slope)
    changes = np.stack(rows)
    still = changes[:, np.searchsorted(size, _FAR)]
    if not np.all(still <= _STILL):
        raise ValueError(
            f"{activation} approaches no line: beyond |x| = {_FAR:g} it changes by "
            f"{max(still):.3g} against the best one, and no spline of finitely many knots stays "
            "near; give an interval to spread them in"
        )
    return Tails(slopes[0], slopes[1], size, changes)


def _limit(activation: Activation, x: float) -> float:
    """The slope at x, or the declared bound or whole number next to it."""
    slope = float(np.clip(activation.slope_in_float64(x), *activation.slope))
    for limit in (*activation.slope, float(round(slope))):
        if abs(slope - limit) <= _AT_LIMIT:
            return limit
    return slope
