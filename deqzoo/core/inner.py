"""A linear solve inside the step of a solver: differentiable, scale-free, within the budget."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from deqzoo.core import linear_solver, products, trees
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State


class Inner(NamedTuple):
    """What an inner solve found.

    Attributes:
        value: u.
        error: ||Ju + b - u||_2 / ||b||_2, 0 where b is 0.
        steps: products that it took.
    """

    value: State
    error: Float[Array, " batch"]
    steps: Int[Array, " batch"]


def allowance(
    solver: Solver, evaluation: Evaluation, spent: Int[Array, " batch"]
) -> Int[Array, " batch"]:
    """Products that this step may take: half of what is left, so that others can follow.

    Args:
        solver: the solver, for its ``max_steps``.
        evaluation: the evaluation at hand; an example that has converged may take none.
        spent: products of all steps before.
    """
    left = solver.max_steps - (evaluation.step + 1) - spent
    goes_on = evaluation.norm > evaluation.tolerance
    return jnp.where(goes_on, jnp.maximum(left // 2, 0), 0)


def solve(
    linear: LinearSolver,
    product: Map,
    rhs: State,
    goal: Float[Array, " batch"],
    limit: Int[Array, " batch"],
) -> Inner:
    """Solve u = Ju + b up to a residual of norm ``goal`` with at most ``limit`` products.

    Derivatives pass through: they are those of the exact solution.
    """
    size = trees.magnitude(lax.stop_gradient(rhs))
    unit = trees.scale(1 / size, rhs)
    pull = products.transpose(product, rhs)

    def forward(_, b):
        return _with_costs(linear.solve(product, b, None, goal=goal / size, limit=limit))

    def backward(pull, _, b):
        return _with_costs(linear_solver.solve(linear, pull, b))

    matvec = lambda u: trees.subtract(u, product(u))  # noqa: E731
    transposed = None if pull is None else functools.partial(backward, pull)
    u, (error, steps) = lax.custom_linear_solve(matvec, unit, forward, transposed, has_aux=True)
    return Inner(trees.scale(size, u), error, steps.astype(jnp.int32))


def _with_costs(answer: Answer) -> tuple[State, tuple[Array, Array]]:
    # Every output of a linear solve has a tangent: integers ride as floats.
    error = answer.stats.relative_residual
    return answer.value, (error, answer.stats.steps.astype(error.dtype))
