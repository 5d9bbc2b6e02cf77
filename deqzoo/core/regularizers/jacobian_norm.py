"""The mean square of the Jacobian's entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Array, Float

from deqzoo.core import jacobian, trees
from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solution import Solution
from deqzoo.settings import In

__all__ = ["JacobianNorm"]


@dataclass(frozen=True)
class JacobianNorm(Regularizer):
    """||J||_F^2 / n at the fixed point of n numbers, by Hutchinson's estimator.

    Attributes:
        samples: random directions; one is enough for training.

    References:
        Bai, Koltun and Kolter, "Stabilizing Equilibrium Models by Jacobian Regularization", arXiv
        2106.14342.
    """

    samples: Annotated[int, In("[1, inf)")] = 1

    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """The estimate for every example."""
        z = solution.value
        return jacobian.squared_norm(fn, z, key, self.samples) / trees.example_size(z)
