"""Dense LU for u = Ju + b: the exact solution of small examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from deqzoo.core import krylov, trees
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Count
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["LU"]


@dataclass(frozen=True)
class LU(LinearSolver):
    """u = (I - J)^{-1} b by elimination with pivots and one step of iterative refinement.

    The Jacobian of an example with n numbers is formed by n products, which run side by side; they
    count as steps and so do the two that measure the residual. More than ``limit`` entries in all
    Jacobians together are refused while tracing. A guess is of no use here.

    Attributes:
        limit: batch times n squared may be this at most; the default takes 64 MiB in float32 and
            three times as much for a moment.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.linear_solvers.lu import LU
        >>> answer = LU().solve(lambda u: 3 * u, jnp.ones((1, 2)), None)
        >>> answer.value.tolist(), int(answer.stats.steps[0])
        ([[-0.5, -0.5]], 4)
    """

    max_steps: Count = 10_000
    limit: Annotated[int, In("[1, inf)")] = 2**24

    def solve(
        self,
        product: Map,
        rhs: State,
        guess: State | None,
        *,
        goal: Float[Array, " batch"] | None = None,
        limit: Int[Array, " batch"] | None = None,
    ) -> Answer:
        """Eliminate, refine once, and measure; examples without the products for it stay at 0."""
        b, apply = trees.ravel(rhs), krylov.operator(product, rhs)
        self._require_small(b)
        goal, limit = krylov.terms(self, rhs, goal, limit)
        none = jnp.zeros_like(goal, jnp.int32)
        cost = b.shape[1] + 2
        wanted = krylov.length(b) > goal
        runs = wanted & (cost <= limit)
        u, residual = lax.cond(
            jnp.any(runs), lambda: _eliminate(apply, b), lambda: (jnp.zeros_like(b), b)
        )
        sound = (runs & jnp.all(jnp.isfinite(residual), axis=1))[:, None]
        u, residual = jnp.where(sound, u, 0), jnp.where(sound, residual, b)
        steps = jnp.where(runs, cost, none)
        return krylov.verdict(u, residual, b, goal, steps, wanted & ~runs, rhs)

    def _require_small(self, b: Array) -> None:
        batch, size = b.shape
        entries = batch * size**2
        if entries > self.limit:
            memory = entries * b.dtype.itemsize / 2**30
            raise ValueError(
                f"{batch} dense Jacobians of {size} x {size} are {entries:.3g} numbers "
                f"({memory:.3g} GiB), more than limit={self.limit}: use 'gmres' or 'bicgstab' (for "
                "fixed points 'newton_krylov'), which need products only, or raise limit"
            )


def _eliminate(apply: Map, b: Array) -> tuple[Array, Array]:
    """The refined solution and its residual."""
    directions = jnp.eye(b.shape[1], dtype=b.dtype)[:, None] + jnp.zeros_like(b)[None, :1]
    images = jax.vmap(lambda row: apply(row + jnp.zeros_like(b)))(directions)
    factors = jax.scipy.linalg.lu_factor(jnp.transpose(images, (1, 2, 0)))
    solve = lambda rows: jax.scipy.linalg.lu_solve(factors, rows[:, :, None])[:, :, 0]  # noqa: E731
    u = solve(b)
    residual = b - apply(u)
    refined = u + solve(residual)
    measured = b - apply(refined)
    better = (krylov.length(measured) <= krylov.length(residual))[:, None]
    return jnp.where(better, refined, u), jnp.where(better, measured, residual)
