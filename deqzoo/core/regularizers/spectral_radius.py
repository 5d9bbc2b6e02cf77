"""How far the spectral radius of the Jacobian exceeds a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
from jaxtyping import Array, Float

from deqzoo.core import jacobian
from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solution import Solution
from deqzoo.settings import In

__all__ = ["SpectralRadius"]


@dataclass(frozen=True)
class SpectralRadius(Regularizer):
    """max(0, rho(J) - limit)^2 at the fixed point, right for complex leading pairs as well.

    Attributes:
        limit: the spectral radius below which nothing is penalised.
        steps: power steps of the estimate.
    """

    limit: Annotated[float, In("[0, inf)")] = 0.9
    steps: Annotated[int, In("[1, 2^31)")] = 20

    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """The squared excess of every example."""
        radius = jacobian.spectral_radius(fn, solution.value, key, self.steps)
        return jax.nn.relu(radius - self.limit) ** 2
