"""Fixed-point correction: early iterates are drawn towards the fixed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solution import Solution
from deqzoo.settings import In, SettingError, fitted

__all__ = ["Correction"]

Step = Annotated[int, In("[1, 2^31)")]


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

    steps: tuple[Step, ...] = (2, 4)

    def __post_init__(self):
        steps = fitted("steps", self.steps, tuple[Step, ...] | Step)
        object.__setattr__(self, "steps", (steps,) if isinstance(steps, int) else steps)
        super().__post_init__()
        if not self.steps:
            raise SettingError("steps must name at least one step, got ()")

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
