"""The variances q of the pre-activations: the scalar fixed point of every input norm."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from deqzoo.activation import panels, quadrature
from deqzoo.activation.contract import Activation

_MAX_STEPS = 100
_ENOUGH = 1e-13  # change at which the next Newton step would be below rounding


@dataclass(frozen=True)
class Variances:
    """q_i = s_w² E φ(√q_i Z)² + s_u² ‖x_i‖²/d.

    Attributes:
        q: the fixed points.
        square: E φ(√q Z)², the diagonal of the Gram matrix.
        slope_square: E φ'(√q Z)².
        steps: Newton steps taken.
        residual: the largest relative defect of the equation.
        truncation: what halving the panels changes, relative to the largest variance.
    """

    q: Float[np.ndarray, " n"]
    square: Float[np.ndarray, " n"]
    slope_square: Float[np.ndarray, " n"]
    steps: int
    residual: float
    truncation: float

    def __getitem__(self, part) -> Variances:
        """Those of some inputs, or of every input from its place among the distinct norms."""
        q, square, slope = self.q[part], self.square[part], self.slope_square[part]
        return Variances(q, square, slope, self.steps, self.residual, self.truncation)


def solve_variances(
    activation: Activation, squares: Float[np.ndarray, " n"], s_w: float, s_u: float
) -> Variances:
    """Solve for p = √q by Newton's method on the contraction p <- √(s_w² E φ(pZ)² + s_u² ‖x‖²/d).

    Args:
        activation: φ.
        squares: ‖x_i‖²/d.
        s_w: weight scale, s_w L < 1.
        s_u: input scale.
    """
    largest = _largest_variance(activation, float(np.max(squares)), s_w, s_u)
    cuts = np.array([*activation.kinks, *panels.edges(activation, largest)])
    with jax.enable_x64(True):
        found = _solve(activation, jnp.asarray(squares, jnp.float64), s_w, s_u, cuts)
        q, square, slope_square, steps, residual, unsure = (np.asarray(value) for value in found)
    return Variances(q, square, slope_square, int(steps), float(residual), float(unsure))


def _largest_variance(activation: Activation, square: float, s_w: float, s_u: float) -> float:
    """A bound on q from |φ(x)| <= |φ(0)| + L|x|: √q <= (s_w |φ(0)| + s_u ‖x‖/√d)/(1 - s_w L)."""
    offset = abs(float(activation.in_float64(0.0)))
    return ((s_w * offset + s_u * square**0.5) / (1 - s_w * activation.lipschitz)) ** 2


@functools.partial(jax.jit, static_argnums=0)
def _solve(activation: Activation, squares, s_w, s_u, cuts):
    means = functools.partial(quadrature.square_means, cuts=cuts)
    source = s_u**2 * squares

    def image(p):
        return jnp.sqrt(s_w**2 * means(activation, jnp.square(p)) + source)

    def newton(carry):
        p, _, step = carry
        moved, rate = jax.jvp(image, (p,), (jnp.ones_like(p),))
        change = jnp.where(p > 0, (moved - p) / (1 - rate), 0)
        return p + change, jnp.max(jnp.abs(change) / jnp.maximum(p, 1e-300)), step + 1

    def unfinished(carry):
        return (carry[1] > _ENOUGH) & (carry[2] < _MAX_STEPS)

    start = image(jnp.sqrt(source))
    p, _, steps = lax.while_loop(unfinished, newton, (start, jnp.inf, 0))
    q = jnp.square(p)
    square = means(activation, q)
    slope_square = means(lambda x: jax.jvp(activation, (x,), (jnp.ones_like(x),))[1], q)
    defect = jnp.abs(s_w**2 * square + source - q) / jnp.maximum(q, 1e-300)
    change = jnp.abs(means(activation, q, finer=2) - square) / jnp.maximum(jnp.max(q), 1e-300)
    return q, square, slope_square, steps, jnp.max(defect), jnp.max(change)
