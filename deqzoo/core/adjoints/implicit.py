"""Exact derivatives of a fixed point by the implicit function theorem."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax

from deqzoo import catalog
from deqzoo.core import failure, linear_solver, products, trees
from deqzoo.core.adjoint import Backward, TangentAdjoint, riding
from deqzoo.core.carried import require_known
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.linear_solvers.auto import Auto
from deqzoo.core.map.program import Program
from deqzoo.core.one_way import one_way
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State
from deqzoo.recipe import CatalogError, Recipe
from deqzoo.settings import OneOf, SettingError, is_traced

__all__ = ["Implicit"]

_COARSEST = 0.05  # however coarse the fixed point: twice as much and the solve counts as failed
_FAILED = (
    "backward solves failed: their gradient is wrong; raise max_steps of the adjoint's solver, or "
    "keep the Jacobian's spectral radius below 1"
)


@dataclass(frozen=True)
class Implicit(TangentAdjoint):
    """dz* = (I - J)^{-1} df with J = df/dz at z*; the adjoint equation is u = J^T u + cotangent.

    Forward and reverse mode, Hessian-vector products and ``vmap`` all work, and memory does not
    grow with the steps. The derivative with respect to the start is exactly zero.

    Attributes:
        solver: how the linear equation is solved, per example: a linear solver (``auto``,
            ``bicgstab``, ``gmres``, ``lu``), any fixed-point solver, or a recipe of either. Without
            a tolerance of its own it takes that of the forward solver, and its precision.
        on_failure: what becomes of an example whose linear solve ends with a residual above a tenth
            of its solution: "nan" makes its derivative NaN, "phantom" takes that of one step of the
            map, "warn" keeps it and warns (which keeps the program out of the compilation cache).

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

    solver: LinearSolver | Solver | str = Auto()
    on_failure: Annotated[str, OneOf("nan", "warn", "phantom")] = "nan"

    def __post_init__(self):
        super().__post_init__()
        rule = _linear_solver(self.solver)
        if isinstance(rule, Solver) and any(each.needs_split for each in rule.stages()):
            raise SettingError(
                "solver must take any map, as the adjoint equation is no deqzoo.Split, got "
                f"{Recipe.of(rule)}"
            )
        require_known(rule)
        object.__setattr__(self, "solver", rule)

    def tangent(
        self,
        solver: Solver,
        fn: Program,
        change: Program,
        z: State,
        backward: Backward | None,
        report: Backward | None,
    ) -> State:
        """(I - J)^{-1} df, such that the transposed solve reports to the cotangent of ``report``.

        The report rides along as a second unknown whose equation is the identity.
        """
        rule = _like_forward(self.solver, solver)
        _, df = jax.jvp(lambda fn: fn(z), (fn,), (change,))
        product = products.forward(fn, z)
        pull = products.transpose(product, z)

        def solve_forward(_, rhs):
            return self._judged(linear_solver.solve(rule, product, rhs[0]), rhs[0]), rhs[1]

        def solve_transposed(pull, _, rhs):
            guess = None if backward is None else backward.solution
            # From the original map: the transpose of a prepared one would have to be prepared anew.
            prepared = Program.trace(pull, z).prepared()
            answer = linear_solver.solve(rule, prepared, rhs[0], guess)
            found = None if backward is None else backward.filled(answer.stats, answer.value)
            return self._judged(answer, rhs[0]), found

        dz, _ = lax.custom_linear_solve(
            lambda pair: (trees.subtract(pair[0], product(pair[0])), pair[1]),
            riding(df, report),
            solve_forward,
            None if pull is None else functools.partial(solve_transposed, pull),
        )
        return one_way(dz) if pull is None else dz

    def _judged(self, answer: Answer, rhs: State) -> State:
        """The answer, or what the policy puts in the place of a failed one."""
        if self.on_failure == "warn":
            failure.warn(_FAILED, answer.sound, answer.stats.relative_residual)
            return answer.value
        if self.on_failure == "nan":
            return trees.or_nan(answer.sound, answer.value)
        return trees.select(answer.sound, answer.value, rhs)


def _linear_solver(recipe: LinearSolver | Solver | str) -> LinearSolver | Solver:
    """A linear solver, or a fixed-point solver where no linear one has the name."""
    if not isinstance(recipe, str):
        return recipe
    name = Recipe.parse(recipe).name
    for kind in (catalog.linear_solvers, catalog.solvers):
        if kind.knows(name):
            return kind.get(recipe)
    known = tuple(dict.fromkeys((*catalog.linear_solvers.names(), *catalog.solvers.names())))
    ending = catalog.choices(name, known)
    raise CatalogError(f"no linear solver or solver is called {name!r}{ending}")


def _like_forward(solver: Any, forward: Solver) -> Any:
    """Settings that are not given are those of the forward pass; atol is meant for states."""
    if solver.rtol is not None:
        return solver
    changes: dict[str, Any] = {"rtol": _as_fine_as(forward.rtol)}
    if hasattr(solver, "precision") and solver.precision is None:
        changes["precision"] = forward.precision
    return replace(solver, **changes)


def _as_fine_as(rtol: Any) -> Any:
    """The tolerance of a backward solve, given that of the forward one."""
    if is_traced(rtol):
        return jnp.minimum(rtol, _COARSEST)
    return min(rtol, _COARSEST) if rtol else None
