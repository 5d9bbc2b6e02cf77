"""How far a spline is from an activation: proved on an interval, measured far outside."""

from __future__ import annotations

import math

import numpy as np

from deqzoo.activation.contract import Activation
from deqzoo.activation.piecewise_linear import PiecewiseLinear

REACH = 1e3
_NEAR = 20.0
_SPACING, _WIDE = 1e-4, 1e-3  # of points in [-20, 20] and outside
_FARTHEST = 1e8
_ROUNDING = 1e-12  # of φ, relative to its size


def sup_error(activation: Activation, spline: PiecewiseLinear, where: tuple[float, float]) -> float:
    """A bound of |φ - s| on an interval, for a φ that is what it declares.

    In a cell of length h between two points, without a knot or a kink inside, φ - s leaves the
    line between its values by at most h² sup|φ''|/8, and by at most h(b - m)(m - a)/(b - a) with m
    the slope of φ's secant and [a, b] the slopes of φ. The larger of the values plus the smaller of
    these is a bound for the cell. Where φ is straight too the values are enough.
    """
    x = _points(activation, spline, where)
    values, h = activation.in_float64(x), np.diff(x)
    gaps = np.abs(values - spline.in_float64(x))
    low, high = activation.slope
    secants = np.clip(np.diff(values) / h, low, high)
    turn = h * (high - secants) * (secants - low) / (high - low)
    straight = isinstance(activation, PiecewiseLinear)
    bend = 0.0 if straight else np.minimum(h * h * activation.curvature / 8, turn)
    cells = np.maximum(gaps[:-1], gaps[1:])
    rounding = _ROUNDING * max(1.0, *np.abs(x[[0, -1]])) * max(1.0, activation.lipschitz)
    return math.nextafter(float(np.max(cells + bend)) + rounding, math.inf)


def tail_error(
    activation: Activation, spline: PiecewiseLinear, where: tuple[float, float]
) -> float:
    """The largest |φ - s| at points outside an interval, up to |x| = 1e8."""
    away = np.geomspace(1e-3, _FARTHEST, 20_000)
    x = np.concatenate([where[0] - away, where[1] + away])
    return float(np.max(np.abs(activation.in_float64(x) - spline.in_float64(x))))


def _points(
    activation: Activation, spline: PiecewiseLinear, where: tuple[float, float]
) -> np.ndarray:
    low, high = where
    near = np.arange(max(low, -_NEAR), min(high, _NEAR), _SPACING)
    wide = np.arange(low, high, _WIDE)
    own = [*where, *activation.kinks, *spline.knots]
    x = np.unique(np.concatenate([near, wide[np.abs(wide) > _NEAR], own]))
    return x[(low <= x) & (x <= high)]
