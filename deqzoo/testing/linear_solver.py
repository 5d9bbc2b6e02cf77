"""Every linear solver: u = Ju + b is solved per example, and a failure is called one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.core import linear_solver, trees
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.solution import Status
from deqzoo.testing.check import Check, are_values, asked, refuses, require
from deqzoo.testing.problems import numbers

__all__ = ["check_linear_solver"]

_RTOL = {"float32": 1e-5, "float64": 1e-10}
N, B = 12, 3


def with_radius(radius: float, n: int = N, seed: int = 1) -> np.ndarray:
    """A random non-symmetric matrix with complex eigenvalues."""
    matrix = numbers(n, n, seed=seed)
    return radius * matrix / np.max(np.abs(np.linalg.eigvals(matrix)))


def rotations(radius: float = 0.95) -> np.ndarray:
    """All eigenvalues on a circle, none of them real."""
    blocks = np.zeros((N, N))
    for k in range(N // 2):
        angle = 0.5 + k / 3
        c, s = radius * np.cos(angle), radius * np.sin(angle)
        blocks[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[c, -s], [s, c]]
    return blocks


def nearly_singular(gap: float = 1e-3) -> np.ndarray:
    """I - J has singular values from ``gap`` to 1."""
    left, right = (np.linalg.qr(numbers(N, N, seed=seed))[0] for seed in (2, 3))
    return np.eye(N) - left * np.geomspace(gap, 1, N) @ right


MATRICES = {
    "contracting": with_radius(0.5),
    "slow": with_radius(0.95),
    "rotating": rotations(),
    "nilpotent": np.diag(np.ones(N - 1), 1),
    "zero": np.zeros((N, N)),
    "normal": np.diag(np.linspace(-0.9, 0.9, N)),
}


@partial(jax.jit, static_argnums=0)
def _solve(solver: LinearSolver, matrices: Any, b: Any, guess: Any = None) -> Answer:
    """Every example has its own matrix."""
    product = lambda u: jnp.einsum("bij,bj->bi", matrices, u)  # noqa: E731
    return linear_solver.solve(solver, product, b, guess)


def run(
    solver: LinearSolver, matrix: np.ndarray, b: np.ndarray, dtype: str = "float32", guess=None
) -> Answer:
    """The answer for one matrix, or one for every example."""
    matrices = np.broadcast_to(matrix, (len(b), *np.shape(matrix)[-2:])).astype(dtype)
    return _solve(solver, matrices, np.asarray(b, dtype), guess)


def measured(matrix: np.ndarray, b: np.ndarray, value: Any) -> np.ndarray:
    """||Ju + b - u|| in float64."""
    value = np.asarray(value, np.float64)
    return np.linalg.norm(value @ np.asarray(matrix, np.float64).T + b - value, axis=1)


def _solution(matrix: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(np.eye(N) - matrix, b.T).T


def _require_converged(answer: Answer) -> None:
    found = [Status(status) for status in answer.stats.status.tolist()]
    require(found == [Status.CONVERGED] * B, f"got {found}, residuals {answer.stats.residual}")
    require(np.all(answer.sound), f"CONVERGED but sound is {answer.sound}")


# It solves.


def _is_solved_and_its_residual_is_the_measured_one(
    problem: str, dtype: str, solver: LinearSolver
) -> None:
    matrix, b = MATRICES[problem], numbers(B, N)
    with jax.enable_x64(True):
        answer = run(solver, matrix, b, dtype)
        _require_converged(answer)
        chex.assert_type(answer.value, dtype)
        size = trees.magnitude(jnp.asarray(b, dtype))  # ``solve`` scales every example
        require(np.all(answer.stats.steps <= 200), f"steps: {answer.stats.steps}")
        exact = _solution(matrix, b)
        lengths = np.linalg.norm(exact, axis=1)
        error = np.linalg.norm(answer.value - exact, axis=1) / lengths
        # Fixed-point iterations stop relative to u, Krylov methods relative to b.
        bound = 3 * np.linalg.cond(np.eye(N) - matrix) * _RTOL[dtype]
        require(np.all(error <= bound), f"relative errors {error} exceed {bound:.2e}")
        rounding = 30 * np.finfo(dtype).eps * (lengths + np.linalg.norm(b, axis=1))
        declared, true = answer.stats.residual * size, measured(matrix, b, answer.value)
        require(
            np.all(np.abs(declared - true) <= rounding), f"residual {declared}, measured {true}"
        )


def _scale_does_not_matter(scale: float, solver: LinearSolver) -> None:
    # https://github.com/jax-ml/jax/issues/40254: tiny cotangents gave NaN.
    matrix, b = MATRICES["slow"], numbers(B, N)
    plain, scaled = run(solver, matrix, b), run(solver, matrix, scale * b)
    chex.assert_trees_all_close(scaled.value / np.float32(scale), plain.value, rtol=1e-3)
    require(np.all(scaled.sound), f"sound is {scaled.sound}")


def _a_zero_right_hand_side_gives_zero_at_no_cost(solver: LinearSolver) -> None:
    b = numbers(B, N)
    b[1] = 0
    answer = run(solver, MATRICES["slow"], b)
    _require_converged(answer)
    chex.assert_trees_all_equal(answer.value[1], np.zeros(N, np.float32))
    stats = answer.stats
    require(stats.residual[1] == 0, f"residual {stats.residual[1]}")
    require(stats.steps[1] <= 1, f"{stats.steps[1]} steps")


def _a_nearly_singular_equation_is_solved_in_double_precision(solver: LinearSolver) -> None:
    matrix, b = nearly_singular(), numbers(B, N)
    with jax.enable_x64(True):
        answer = run(replace(solver, max_steps=max(1000, solver.max_steps)), matrix, b, "float64")
        require(np.all(answer.sound), f"sound is {answer.sound}")
    relative = measured(matrix, b, answer.value) / np.linalg.norm(b, axis=1)
    require(np.all(relative <= 1e-9), f"relative residuals {relative}")


def _a_good_guess_is_not_lost(solver: LinearSolver) -> None:
    matrix, b = MATRICES["slow"], numbers(B, N)
    guess = _solution(matrix, b).astype(np.float32)
    warm, cold = run(solver, matrix, b, guess=guess), run(solver, matrix, b)
    _require_converged(warm)
    steps = f"{warm.stats.steps} steps from the solution, {cold.stats.steps} without it"
    require(np.all(warm.stats.steps <= cold.stats.steps), steps)


# It fails honestly.


def _a_singular_equation_is_not_called_solved(solver: LinearSolver) -> None:
    # I - J annihilates the first axis, and b has a part along it.
    matrix = np.diag([1.0, *np.linspace(0, 0.5, N - 1)])
    answer = run(solver, matrix, np.eye(N)[:B] + 0.01)
    status = Status(int(answer.stats.status[0]))
    require(not answer.sound[0], "sound is True")
    require(status != Status.CONVERGED, "the status is CONVERGED")
    chex.assert_tree_all_finite(answer.value)


def _a_non_finite_example_fails_alone(where: str, bad: float, solver: LinearSolver) -> None:
    matrices, b = np.broadcast_to(MATRICES["slow"], (B, N, N)).copy(), numbers(B, N)
    plain = run(solver, matrices, b)
    (matrices if where == "matrix" else b)[1] = bad
    answer = run(solver, matrices, b)
    require(answer.sound.tolist() == [True, False, True], f"sound is {answer.sound}")
    chex.assert_trees_all_equal(*(jax.tree.map(lambda leaf: leaf[::2], a) for a in (answer, plain)))


def _batch_mates_change_nothing(solver: LinearSolver) -> None:
    matrices, b = np.broadcast_to(MATRICES["slow"], (B, N, N)).copy(), numbers(B, N)
    plain = run(solver, matrices, b)
    for mate, factor in ((with_radius(0.3), 1e-6), (with_radius(3.0), 1e6), (np.eye(N), 0)):
        matrices[2], b[2] = mate, factor * b[1]
        changed = run(solver, matrices, b)
        chex.assert_trees_all_equal(
            *(jax.tree.map(lambda leaf: leaf[:2], a) for a in (changed, plain))
        )


# It takes any state and every transformation.


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


# Settings.


def _impossible_settings_are_refused(solver: LinearSolver) -> None:
    impossible: tuple[dict[str, Any], ...] = ({"rtol": -1.0}, {"max_steps": 0}, {"max_steps": 1.5})
    for setting in impossible:
        refuses(partial(replace, solver, **setting), setting)


def _settings_are_values(solver: LinearSolver) -> None:
    are_values(solver, max_steps=solver.max_steps + 1)


check_linear_solver = Check(
    "linear solver",
    catalog.linear_solvers.get,
    (
        _settings_are_values,
        _impossible_settings_are_refused,
        *(
            asked(_is_solved_and_its_residual_is_the_measured_one, problem, dtype)
            for problem in MATRICES
            for dtype in _RTOL
        ),
        asked(_scale_does_not_matter, 1e-30),
        asked(_scale_does_not_matter, 1e30),
        _a_zero_right_hand_side_gives_zero_at_no_cost,
        _a_nearly_singular_equation_is_solved_in_double_precision,
        _a_good_guess_is_not_lost,
        _a_singular_equation_is_not_called_solved,
        *(
            asked(_a_non_finite_example_fails_alone, where, bad)
            for where in ("matrix", "b")
            for bad in (math.nan, math.inf)
        ),
        _batch_mates_change_nothing,
        _a_pytree_is_solved_like_its_rows,
        _nested_differentiation_and_vmap_agree_with_a_dense_solve,
    ),
)
