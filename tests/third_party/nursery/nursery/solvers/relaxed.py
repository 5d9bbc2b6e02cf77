"""Relaxed fixed-point iteration."""

from dataclasses import dataclass

from deqzoo.core import trees
from deqzoo.core.solver import Solver


@dataclass(frozen=True)
class Relaxed(Solver):
    """z <- z + ω (f(z) - z).

    Attributes:
        omega: ω.
    """

    omega: float = 0.9

    def init(self, fn, z0):
        """It remembers nothing."""
        return ()

    def step(self, evaluation, memory):
        """One step."""
        return trees.add(
            evaluation.z, trees.scale(self.factor(evaluation), evaluation.residual)
        ), ()

    def factor(self, evaluation):
        """ω for every example."""
        return self.omega + 0 * evaluation.norm
