"""What a solution must say of itself: its statuses, its steps and its residual."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core import trees
from deqzoo.core.solution import Solution, Status
from deqzoo.testing.check import require
from deqzoo.testing.problems import Problem


def require_true_residual(problem: Problem, solution: Solution, slack: float = 0.0) -> None:
    """Require that ||f(z) - z|| is what is declared, up to rounding and ``slack``.

    Raises:
        AssertionError: it is not.
    """
    value = jax.tree.map(jnp.asarray, solution.value)
    image = problem.fn(value, problem.args)
    rounding = 8 * trees.coarsest_eps(value) * trees.norm(image) + slack
    measured = trees.norm(trees.subtract(image, value))
    require(
        np.all(np.abs(measured - solution.stats.residual) <= rounding),
        f"||f(z) - z|| is {measured}, declared {solution.stats.residual}",
    )


def require_statuses(solution: Solution, expected: list[Status] | set[Status]) -> None:
    """Require the statuses of all examples in their order, or that they are among some.

    Raises:
        AssertionError: they are others.
    """
    found = [Status(status) for status in solution.stats.status.tolist()]
    allowed = set(found) <= expected if isinstance(expected, set) else found == expected
    require(allowed, f"expected {expected}, got {found} after {solution.stats.steps} steps")


def require_steps(solution: Solution, expected: list[int]) -> None:
    """Require the number of steps of every example.

    Raises:
        AssertionError: they are others.
    """
    found = solution.stats.steps.tolist()
    require(found == expected, f"expected {expected} steps, got {found}")
