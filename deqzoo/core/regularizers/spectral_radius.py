"""How far the spectral radius of the Jacobian exceeds a limit."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from deqzoo.core import jacobian
from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solution import Solution

__all__ = ["SpectralRadius"]


@dataclass(frozen=True)
class SpectralRadius(Regularizer):
    """max(0, rho(J) - limit)^2 at the fixed point, right for complex leading pairs as well.

    Attributes:
        limit: the spectral radius below which nothing is penalised.
        steps: power steps of the estimate.
    """

    limit: float = 0.9
    steps: int = 20

    def __post_init__(self):
        super().__post_init__()
        if not self.limit >= 0:
            raise ValueError(f"limit must be >= 0, got {self.limit}")
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise ValueError(f"steps must be a whole number >= 1, got {self.steps!r}")

    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """The squared excess of every example."""
        radius = jacobian.spectral_radius(fn, solution.value, key, self.steps)
        return jax.nn.relu(radius - self.limit) ** 2
