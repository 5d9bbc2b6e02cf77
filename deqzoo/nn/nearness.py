"""How near a state is to its equilibrium, by what a guarantee proves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_ROUNDING = 1e-9  # by which numbers that were computed in float64 are made larger


@dataclass(frozen=True)
class Nearness:
    """|y - y*| <= c |f(z) - z| and |y*(u) - y*(u')| <= k |u - u'|, y what the cell puts out of z.

    That is its ``output``, or z where it has none.

    Attributes:
        per_residual: c.
        per_injection: k.
        weights: v of the norm max_i |x_i|/v_i; None for the Euclidean norm.

    Example:
        >>> import numpy as np
        >>> from deqzoo.nn.nearness import Nearness
        >>> near = Nearness(10.0, 5.0)
        >>> near.size(np.array([[3.0, 4.0]])), near.reach(np.array([[0.0, 2.0]]))
        (array([5.]), array([2.]))
    """

    per_residual: float
    per_injection: float
    weights: Float[np.ndarray, " n"] | None = None

    def size(self, x: Float[np.ndarray, "batch n"]) -> Float[np.ndarray, " batch"]:
        """The norm of every row."""
        if self.weights is None:
            return np.linalg.norm(x, axis=-1)
        return np.max(np.abs(x) / self.weights, axis=-1)

    def reach(self, rows: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows"]:
        """The largest value of every linear form on a ball of radius one."""
        if self.weights is None:
            return np.linalg.norm(rows, axis=-1)
        return np.abs(rows) @ self.weights

    def stretch(self, U: Float[np.ndarray, "n d"]) -> float:
        """The largest size of Ux where |x|₂ = 1, from above."""
        largest = (
            float(np.linalg.norm(U, 2))
            if self.weights is None
            else float(np.max(np.linalg.norm(U, axis=1) / self.weights))
        )
        return largest * (1 + _ROUNDING)


def nearness(per_residual: float, per_injection: float, weights=None) -> Nearness | None:
    """Both factors, roundings included; None where they are not finite and positive."""
    factors = np.array([per_residual, per_injection]) * (1 + _ROUNDING)
    if not np.all(np.isfinite(factors) & (factors >= 0)):
        return None
    return Nearness(float(factors[0]), float(factors[1]), weights)
