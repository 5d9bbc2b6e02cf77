"""Fixed-point correction: early iterates are drawn towards the fixed point."""

from __future__ import annotations

from dataclasses import dataclass

from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solution import Solution

__all__ = ["Correction"]


@dataclass(frozen=True)
class Correction(Regularizer):
    """sum_k ||z_k - z*||_2^2 / n over chosen steps k, so that few steps already come close.

    z* counts as constant, and an iterate carries the derivative of the step that follows it.

    Attributes:
        steps: the numbers of the steps; the solver's ``trajectory`` must have them, which training
            sees to.

    References:
        Bai et al., "Deep Equilibrium Optical Flow Estimation", arXiv 2204.08442, where such
        iterates enter the task loss.
    """

    steps: tuple[int, ...] = (2, 4)

    def __post_init__(self):
        super().__post_init__()
        steps = (self.steps,) if isinstance(self.steps, int) else tuple(self.steps)
        if not steps or not all(isinstance(step, int) and step >= 1 for step in steps):
            raise ValueError(f"steps must be whole numbers >= 1, got {self.steps!r}")
        object.__setattr__(self, "steps", steps)

    def trajectory(self) -> tuple[int, ...]:
        """The steps."""
        return self.steps

    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """The sum of mean squared distances of every example.

        Raises:
            ValueError: the solution holds no such iterates.
        """
        if len(solution.trajectory) != len(self.steps):
            raise ValueError(
                f"correction(steps={self.steps}) needs these iterates, but the solution has "
                f"{len(solution.trajectory)}: give the solver trajectory={self.steps}"
            )
        goal = lax.stop_gradient(solution.value)
        distances = [trees.squared_norm(trees.subtract(z, goal)) for z in solution.trajectory]
        return sum(distances[1:], start=distances[0]) / trees.example_size(goal)
