"""Newton with dense Jacobians, for small states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from deqzoo.core.linear_solver import LinearSolver
from deqzoo.core.linear_solvers.lu import LU
from deqzoo.core.newton import Newton
from deqzoo.core.solver import Count
from deqzoo.settings import In

__all__ = ["Direct"]


@dataclass(frozen=True)
class Direct(Newton):
    """z_{k+1} = z_k + t (I - J)^{-1} (f(z_k) - z_k), J formed and eliminated for every example.

    For states of some dozen numbers, also where I - J is nearly singular. The n products that form
    J run side by side but count as steps, hence the large ``max_steps``.

    Attributes:
        limit: batch times n squared may be this at most; more is refused while tracing.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: x - 2 * z, jnp.zeros((1, 2))
        >>> solution = deqzoo.fixed_point(fn, z0, 3.0, solver="direct")
        >>> solution.value.tolist(), int(solution.stats.steps[0])
        ([[1.0, 1.0]], 6)
    """

    max_steps: Count = 10_000
    limit: Annotated[int, In("[1, inf)")] = 2**24

    @property
    def inner(self) -> LinearSolver:
        """LU."""
        return LU(limit=self.limit)
