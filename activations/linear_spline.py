"""Linear spline on an even grid, whose coefficients are learned with slopes kept in a range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import piecewise_linear
from deqzoo.activation.learnable import Learnable
from deqzoo.activation.piecewise_linear import PiecewiseLinear
from deqzoo.settings import In, OneOf

__all__ = ["LinearSpline"]

_STARTS = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "absolute": np.abs,
    "tanh": np.tanh,
}
_SLACK = 1e-9  # by which slopes of a start may leave the range: rounding of the grid
_ONE_LINE = 1e-13


@dataclass(frozen=True)
class LinearSpline(Learnable):
    """φ(x) = c_i at the i-th of even grid points, straight between and beyond them.

    The learned coefficients are projected first: their slopes are clipped to [low, high], and the
    mean of the coefficients is kept. So the slopes of φ lie in [low, high] whatever is learned.
    Derivatives with respect to the coefficients are taken as if nothing were projected, so that a
    slope at an end of the range can come back.

    Attributes:
        low: the smallest slope.
        high: the largest slope.
        size: points of the grid, at which the coefficients are given.
        reach: the grid spans [-reach, reach]; beyond, the outermost pieces go on.
        init: what φ begins as between the grid points: identity, relu, absolute or tanh.
        per_unit: whether every unit learns coefficients of its own.

    References:
        Bohra, Campos, Gupta, Aziznejad and Unser, "Learning Activation Functions in Deep (Spline)
        Neural Networks", and Aziznejad, Debarre and Unser, "Sparsest Univariate Learning Models
        Under Lipschitz Constraint", arXiv 2112.13542. The projection is that of the code of their
        group; a range other than [-1, 1] and the derivative past the projection are deqzoo's.
    """

    low: float = 0.0
    high: float = 1.0
    size: Annotated[int, In("[3, 1000]")] = 15
    reach: Annotated[float, In("(0, inf)")] = 3.5
    init: Annotated[str, OneOf(*_STARTS)] = "relu"

    curvature = math.inf  # φ' jumps at the grid points

    def __post_init__(self):
        super().__post_init__()
        if not self.low < self.high:
            raise ValueError(f"expected low < high, got low={self.low}, high={self.high}")
        slopes = np.diff(self._grid_values) / self._step
        least, most = float(np.min(slopes)), float(np.max(slopes))
        if not self.low - _SLACK <= least <= most <= self.high + _SLACK:
            raise ValueError(
                f"init={self.init!r} has slopes [{least:.6g}, {most:.6g}], which leave [low, high]"
                f" = [{self.low}, {self.high}]: widen the range, or begin as something else"
            )

    @property
    def slope(self):
        """(low, high)."""
        return self.low, self.high

    @property
    def start(self):
        """The coefficients from left to right."""
        return dict(zip(self._names, self._grid_values.tolist(), strict=True))

    def formula(self, x, **coefficients):
        """φ(x) of the projected coefficients."""
        slopes, offset = self._projected(coefficients, x.dtype)
        return piecewise_linear.evaluate(x, self._inner(x.dtype), slopes, offset)

    def prox_formula(self, u, step_size, **coefficients):
        """As that of ``PiecewiseLinear``."""
        slopes, offset = self._projected(coefficients, u.dtype)
        return piecewise_linear.prox(u, step_size, self._inner(u.dtype), slopes, offset)

    def ordinary(self, **coefficients):
        """The spline of the projected coefficients."""
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            each = {name: jnp.asarray(c, jnp.float64) for name, c in coefficients.items()}
            slopes, offset = (np.asarray(n) for n in self._projected(each, jnp.float64))
        return PiecewiseLinear(tuple(self._grid[1:-1].tolist()), _joined(slopes), float(offset))

    def slope_variation(self, **coefficients):
        """Σ |s_{i+1} - s_i|, which is ‖[1, -2, 1] * c‖₁ over the spacing of the grid."""
        dtype = jnp.result_type(*coefficients.values())
        slopes, _ = self._projected(coefficients, dtype)
        return jnp.sum(jnp.abs(jnp.diff(slopes, axis=-1)), -1)

    def _projected(self, coefficients, dtype):
        """Slopes (..., pieces) in [low, high], and φ(0)."""
        c = jnp.stack(jnp.broadcast_arrays(*(coefficients[name] for name in self._names)), -1)
        steps = jnp.diff(c, axis=-1) / self._step
        fixed = jax.lax.stop_gradient(steps)
        slopes = jnp.clip(fixed, self.low, self.high) + (steps - fixed)
        rises = self._step * jnp.cumsum(slopes, -1)
        first = jnp.mean(c, -1) - jnp.sum(rises, -1) / self.size
        zero = jnp.zeros_like(first)
        start = jnp.asarray(-self.reach, dtype)
        return slopes, piecewise_linear.evaluate(zero, self._inner(dtype), slopes, first, start)

    def _inner(self, dtype):
        return jnp.asarray(self._grid[1:-1], dtype)

    @property
    def _names(self):
        digits = len(str(self.size - 1))
        return tuple(f"c{i:0{digits}}" for i in range(self.size))

    @property
    def _step(self):
        return 2 * self.reach / (self.size - 1)

    @property
    def _grid(self):
        return np.linspace(-self.reach, self.reach, self.size)

    @property
    def _grid_values(self):
        return _STARTS[self.init](self._grid)


def _joined(slopes):
    """Pieces of one line have one slope: the rounding of the grid is no kink."""
    joined = slopes.tolist()
    for i in range(1, len(joined)):
        if abs(joined[i] - joined[i - 1]) <= _ONE_LINE:
            joined[i] = joined[i - 1]
    return tuple(joined)
