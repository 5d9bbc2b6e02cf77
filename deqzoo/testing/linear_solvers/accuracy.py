"""A linear solver solves, as exactly as it says and whatever the scale."""

from __future__ import annotations

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core import trees
from deqzoo.core.linear_solver import LinearSolver
from deqzoo.testing.check import asked, require
from deqzoo.testing.linear_solvers.equations import (
    MATRICES,
    B,
    N,
    measured,
    nearly_singular,
    require_converged,
    run,
    solution,
)
from deqzoo.testing.problems import numbers

RTOL = {"float32": 1e-5, "float64": 1e-10}


def _is_solved_and_its_residual_is_the_measured_one(
    problem: str, dtype: str, solver: LinearSolver
) -> None:
    matrix, b = MATRICES[problem], numbers(B, N)
    with jax.enable_x64(True):
        answer = run(solver, matrix, b, dtype)
        require_converged(answer)
        chex.assert_type(answer.value, dtype)
        size = trees.magnitude(jnp.asarray(b, dtype))  # ``solve`` scales every example
        require(np.all(answer.stats.steps <= 200), f"steps: {answer.stats.steps}")
        exact = solution(matrix, b)
        lengths = np.linalg.norm(exact, axis=1)
        error = np.linalg.norm(answer.value - exact, axis=1) / lengths
        # Fixed-point iterations stop relative to u, Krylov methods relative to b.
        bound = 3 * np.linalg.cond(np.eye(N) - matrix) * RTOL[dtype]
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
    require_converged(answer)
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
    guess = solution(matrix, b).astype(np.float32)
    warm, cold = run(solver, matrix, b, guess=guess), run(solver, matrix, b)
    require_converged(warm)
    steps = f"{warm.stats.steps} steps from the solution, {cold.stats.steps} without it"
    require(np.all(warm.stats.steps <= cold.stats.steps), steps)


TRUTHS = (
    *(
        asked(_is_solved_and_its_residual_is_the_measured_one, problem, dtype)
        for problem in MATRICES
        for dtype in RTOL
    ),
    asked(_scale_does_not_matter, 1e-30),
    asked(_scale_does_not_matter, 1e30),
    _a_zero_right_hand_side_gives_zero_at_no_cost,
    _a_nearly_singular_equation_is_solved_in_double_precision,
    _a_good_guess_is_not_lost,
)
