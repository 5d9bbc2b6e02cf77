"""The interpolant of fewest knots and least total variation, and how few there can be."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from deqzoo.activation.piecewise_linear import PiecewiseLinear

_SAME = 1e-9  # relative to the largest slope: what differs by less is one slope


def sparsest(
    x: Float[np.ndarray, " points"], z: Float[np.ndarray, " points"], same: float = _SAME
) -> PiecewiseLinear:
    """An interpolant of points (x_i, z_i) with few knots and the least ∫ |φ''|.

    Of the lines that join the points, the jumps a_i of the slope at neighbouring points are taken
    in pairs where they have one sign, and a pair becomes one knot between the two, at
    (a_i x_i + a_j x_j)/(a_i + a_j) with the jump a_i + a_j. The slopes that remain are some of
    those before, so a bound of them is kept, and so is ∫ |φ''| = Σ |a_i|.

    Args:
        x: increasing, at least two.
        z: the values.
        same: relative to the largest slope: slopes that differ by less count as one.

    Raises:
        ValueError: other points.

    References:
        Debarre, Denoyelle, Unser and Fageot, "Sparsest Piecewise-Linear Regression of
        One-Dimensional Data", J. Comput. Appl. Math. 406 (2022), whose code pairs knots so. That
        the slopes are kept: deqzoo.

    Example:
        >>> from deqzoo.splines import sparsest
        >>> sparsest([0, 1, 2, 3], [0, 0, 1, 3]).knots
        (1.5,)
    """
    x, z = points(x, z)
    slopes = np.diff(z) / np.diff(x)
    jumps = np.where(_differ(slopes[1:], slopes[:-1], same), np.diff(slopes), 0.0)
    knots, kept, i = [], [float(slopes[0])], 0
    while i < len(jumps):
        j = i + 1
        pair = j < len(jumps) and jumps[i] * jumps[j] > 0
        if pair:
            share = jumps[j] / (jumps[i] + jumps[j])
            knots.append(float(x[i + 1] + share * (x[j + 1] - x[i + 1])))
        elif jumps[i]:
            knots.append(float(x[i + 1]))
        if jumps[i]:
            kept.append(float(slopes[i + 1 + pair]))
        i += 1 + pair
    spline = PiecewiseLinear(tuple(knots), tuple(kept))
    return PiecewiseLinear(spline.knots, spline.slopes, float(z[0] - spline.in_float64(x[0])))


def min_knots(
    x: Float[np.ndarray, " points"],
    z: Float[np.ndarray, " points"],
    lipschitz: float = math.inf,
) -> int:
    """The fewest knots of any interpolant of straight pieces with slopes in [-L, L].

    Dynamic programming over the slope with which a point is left. Between two points with a secant
    of slope s an interpolant either has the slope s, or begins steeper and ends flatter than s (or
    the other way round) with one knot between, all such pairs of slopes being possible. A slope may
    also change at a point, for one knot.

    Args:
        x: increasing, at least two.
        z: the values.
        lipschitz: L.

    Raises:
        ValueError: other points, or secants that are steeper than L.

    References:
        deqzoo.

    Example:
        >>> from deqzoo.splines import min_knots
        >>> min_knots([0, 1, 2, 3], [0, 0, 1, 3])
        1
    """
    x, z = points(x, z)
    slopes = np.diff(z) / np.diff(x)
    small = _SAME * max(1.0, float(np.max(np.abs(slopes))))
    if np.max(np.abs(slopes)) > lipschitz + small:
        raise ValueError(
            f"expected points whose secants have slopes within {lipschitz:.6g}, got "
            f"{np.max(np.abs(slopes)):.6g}: no such interpolant exists"
        )
    before, below, at, above = slopes[0], 0.0, 0.0, 0.0  # any first slope is free
    for s in slopes:
        cheapest = 1 + min(below, at, above)  # with a change at the point
        if s > before + small:
            flatter, equal, steeper = min(below, at, above), above, above
        elif s < before - small:
            flatter, equal, steeper = below, below, min(below, at, above)
        else:
            flatter, equal, steeper = below, at, above
        can_rise, can_fall = s < lipschitz - small, s > -lipschitz + small
        below = 1 + min(steeper, cheapest) if can_rise and can_fall else math.inf
        above = 1 + min(flatter, cheapest) if can_rise and can_fall else math.inf
        before, at = s, min(equal, cheapest)
    return int(min(below, at, above))


def points(x, z) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64; ValueError where they are no points of a function."""
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    fits = x.ndim == 1 and x.shape == z.shape and len(x) >= 2
    if not (fits and np.all(np.diff(x) > 0) and np.all(np.isfinite(z)) and np.all(np.isfinite(x))):
        raise ValueError(
            "expected at least two points, finite, x increasing and z of the same length, got "
            f"shapes {x.shape} and {z.shape}"
        )
    return x, z


def _differ(a: np.ndarray, b: np.ndarray, same: float) -> np.ndarray:
    largest = float(np.max(np.abs([a, b]), initial=1.0))
    return np.abs(a - b) > same * largest
