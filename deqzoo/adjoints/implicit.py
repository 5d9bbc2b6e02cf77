"""Exact derivatives of a fixed point by the implicit function theorem."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from deqzoo import catalog, trees
from deqzoo.adjoint import Adjoint
from deqzoo.solution import Solution, Stats
from deqzoo.solver import Map, Solver, solve
from deqzoo.trees import State

__all__ = ["Implicit"]


@dataclass(frozen=True)
class Implicit(Adjoint):
    """dz* = (I - J)^{-1} df with J = df/dz at z*; the adjoint equation is u = J^T u + cotangent.

    Forward and reverse mode, Hessian-vector products and ``vmap`` all work, and memory does not
    grow with the steps. The derivative with respect to the start is exactly zero.

    Attributes:
        solver: how the linear fixed-point equation is solved, per example: a solver or its recipe;
            None takes the solver of the forward pass without its atol.

    References:
        Bai, Kolter and Koltun, "Deep Equilibrium Models", arXiv 1909.01377.
        Blondel et al., "Efficient and Modular Implicit Differentiation", arXiv 2105.15183.

    Example:
        >>> import jax, jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: 0.5 * z + x, jnp.zeros((1, 1))
        >>> root = lambda x: deqzoo.fixed_point(fn, z0, x).value[0, 0]
        >>> round(float(jax.grad(root)(jnp.ones((1, 1)))[0, 0]), 4)
        2.0
    """

    solver: Solver | str | None = None

    def __post_init__(self):
        object.__setattr__(self, "solver", catalog.solvers.get(self.solver))

    def __call__(self, solver: Solver, fn: Map, z0: State) -> Solution:
        """Solve, and attach the implicit derivative."""

        def find(_, z0):
            solution = solve(solver, fn, z0)
            # custom_root wants inexact auxiliary outputs: statistics travel as floats.
            return solution.value, jax.tree.map(_as_float, solution.stats)

        value, stats = lax.custom_root(
            lambda z: trees.subtract(fn(z), z),
            lax.stop_gradient(z0),
            find,
            lambda linear, rhs: self._solve_linear(solver, linear, rhs),
            has_aux=True,
        )
        return Solution(value, _as_stats(stats))

    def _solve_linear(self, forward: Solver, linear: Map, rhs: State) -> State:
        """Solve (J - I) u = rhs, and its transpose when reverse mode asks for it."""
        solver = self.solver if isinstance(self.solver, Solver) else _for_cotangents(forward)
        run = lambda operator, rhs: _linear_fixed_point(solver, operator, rhs)  # noqa: E731
        return lax.custom_linear_solve(linear, rhs, run, transpose_solve=run)


def _linear_fixed_point(solver: Solver, operator: Map, rhs: State) -> State:
    """Solve operator(u) = rhs as u = u + operator(u) - rhs, every example scaled to size one."""
    size = trees.magnitude(rhs)
    unit = trees.scale(1 / size, rhs)
    start = jax.tree.map(jnp.negative, unit)
    solution = solve(solver, lambda u: trees.subtract(trees.add(u, operator(u)), unit), start)
    return trees.scale(size, solution.value)


def _for_cotangents(forward: Solver) -> Solver:
    """The forward solver without its absolute tolerance, which is meant for states."""
    return replace(forward, rtol=forward.rtol or None, atol=0.0)


def _as_float(leaf):
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _as_stats(stats: Stats) -> Stats:
    stats = lax.stop_gradient(stats)
    return Stats(
        steps=stats.steps.astype(jnp.int32),
        residual=stats.residual,
        relative_residual=stats.relative_residual,
        status=stats.status.astype(jnp.int32),
    )
