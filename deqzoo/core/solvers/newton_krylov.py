"""Inexact Newton with matrix-free linear solves."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo import catalog
from deqzoo.core.linear_solver import LinearSolver
from deqzoo.core.linear_solvers.gmres import GMRES
from deqzoo.core.newton import Newton

__all__ = ["NewtonKrylov"]


@dataclass(frozen=True)
class NewtonKrylov(Newton):
    """z_{k+1} = z_k + t (I - J)^{-1} (f(z_k) - z_k) with products Jv only, per example.

    It needs I - J to be regular and not f to contract, so it finds fixed points that iterations of
    f run away from. On contractions other solvers are cheaper. ``steps`` counts products, and
    ``max_steps`` is a budget of both.

    Attributes:
        linear: the linear solver or its recipe.

    References:
        Eisenstat and Walker, "Choosing the forcing terms in an inexact Newton method", SIAM J. Sci.
        Comput. 17 (1996).

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: x - 2 * z, jnp.zeros((1, 2))
        >>> solution = deqzoo.fixed_point(fn, z0, 3.0, solver="newton_krylov")
        >>> [round(z, 4) for z in solution.value[0].tolist()]
        [1.0, 1.0]
    """

    linear: LinearSolver | str = GMRES(history=40)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "linear", catalog.linear_solvers.get(self.linear))

    @property
    def inner(self) -> LinearSolver:
        """The linear solver."""
        return catalog.linear_solvers.get(self.linear)
