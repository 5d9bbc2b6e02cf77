"""A linear solver takes any state and every transformation of JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core import linear_solver
from deqzoo.core.linear_solver import LinearSolver
from deqzoo.testing.check import require
from deqzoo.testing.linear_solvers.equations import MATRICES, B, N, measured, with_radius
from deqzoo.testing.problems import numbers


def _a_pytree_is_solved_like_its_rows(solver: LinearSolver) -> None:
    matrix, b = MATRICES["slow"], numbers(B, N)
    split = lambda rows: {"a": rows[:, :4].reshape(-1, 2, 2), "b": rows[:, 4:]}  # noqa: E731
    join = lambda tree: jnp.concatenate([tree["a"].reshape(-1, 4), tree["b"]], axis=1)  # noqa: E731
    product = lambda tree: split(join(tree) @ matrix.T)  # noqa: E731
    with jax.enable_x64(True):
        answer = jax.jit(lambda b: linear_solver.solve(solver, product, b))(split(b))
        chex.assert_trees_all_equal_shapes_and_dtypes(answer.value, split(b))
        residual = measured(matrix, b, join(answer.value))
    require(np.all(residual <= 1e-8), f"residuals {residual}")


def _nested_differentiation_and_vmap_agree_with_a_dense_solve(solver: LinearSolver) -> None:
    # https://github.com/jax-ml/jax/issues/5552, 5309, 16441.
    weight, b, exact = with_radius(0.6, 4), numbers(2, 4), replace(solver, rtol=1e-13)
    direct = lambda weight: jnp.sum(  # noqa: E731
        jnp.linalg.solve(jnp.eye(4) - jnp.tanh(weight), b.T) ** 3
    )
    ours = lambda weight: jnp.sum(_root(exact, weight, b) ** 3)  # noqa: E731
    twice = lambda f: jax.grad(lambda w: jnp.sum(jnp.sin(jax.grad(f)(w))))  # noqa: E731
    with jax.enable_x64(True):
        weights = np.stack([weight, 0.1 * weight])
        expected = jax.jit(jax.vmap(twice(direct)))(weights)
        actual = jax.jit(jax.vmap(twice(ours)))(weights)
        atol = 1e-8 * float(np.max(np.abs(expected)))
        chex.assert_trees_all_close(actual, expected, rtol=0, atol=atol)


def _root(solver: LinearSolver, weight: Any, b: Any) -> Any:
    """U = tanh(W) u + b, differentiable: the use inside an adjoint."""

    def matvec(u):
        return u - u @ jnp.tanh(weight).T

    def forward(_, rhs):
        return linear_solver.solve(solver, lambda u: u @ jnp.tanh(weight).T, rhs).value

    def backward(_, rhs):
        return linear_solver.solve(solver, lambda u: u @ jnp.tanh(weight), rhs).value

    return jax.lax.custom_linear_solve(matvec, b, forward, backward)


TRUTHS = (
    _a_pytree_is_solved_like_its_rows,
    _nested_differentiation_and_vmap_agree_with_a_dense_solve,
)
