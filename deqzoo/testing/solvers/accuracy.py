"""A solver solves: in every precision, at every scale, and as exactly as it says."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core import trees
from deqzoo.core.map.split import Split
from deqzoo.core.solution import Status
from deqzoo.core.solver import Solver
from deqzoo.testing import problems
from deqzoo.testing.check import asked, require
from deqzoo.testing.problems import Problem
from deqzoo.testing.solvers.solution import require_statuses, require_steps, require_true_residual

RTOL = {"bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-10}  # the promised defaults
# Of rules that are sublinear, in whose last steps little but rounding would change.
_SUBLINEAR = {"bfloat16": 5e-2, "float32": 1e-2, "float64": 1e-2}
_PROBLEMS = {
    "linear": problems.linear,
    "cosine": problems.cosine,
    "rotation": problems.rotation,
    "wide": problems.wide,
    "coupled": problems.coupled,
    "stiff": problems.stiff,
    "tiny": partial(problems.linear, 1e-6),
    "huge": partial(problems.linear, 1e6),
}
_CLIMATES = (
    ("float32", "linear"),
    ("float32", "cosine"),
    ("float32", "wide"),
    ("float32", "tiny"),
    ("float32", "huge"),
    ("float64", "rotation"),
    ("float64", "coupled"),
    ("float64", "stiff"),
    ("float32 under x64", "coupled"),
)


def _is_solved_in(climate: str, problem: str, solver: Solver) -> None:
    """A climate is a dtype, perhaps under x64."""
    dtype = climate.split()[0]
    with jax.enable_x64(climate != "float32"):
        posed = _PROBLEMS[problem]().in_dtype(dtype)
        if posed.fits(solver):
            _judge(posed, *_terms(solver, dtype, 400))


def _terms(solver: Solver, dtype: str, max_steps: int | None = None) -> tuple[Solver, float]:
    """The solver as it is asked, and the relative residual that it is to reach."""
    if solver.is_sublinear:
        rtol = _SUBLINEAR[dtype]
        return replace(solver, rtol=rtol, max_steps=math.ceil(20 / rtol)), rtol
    return replace(solver, max_steps=max_steps or solver.max_steps), RTOL[dtype]


def _judge(problem: Problem, solver: Solver, rtol: float) -> None:
    solution = problem.solve(solver)
    stats = solution.check().stats
    chex.assert_trees_all_equal_shapes_and_dtypes(solution.value, problem.z0)
    chex.assert_type([stats.residual, stats.relative_residual], trees.reduction_dtype(problem.z0))
    chex.assert_type([stats.steps, stats.status], "int32")
    worst = np.max(stats.relative_residual)
    require(worst <= rtol, f"CONVERGED at the relative residual {worst:.2e}")
    require_true_residual(problem, solution)
    if problem.exact is not None:  # |z - z*| <= residual / (1 - 0.9) in the worst problem
        error = np.max(np.abs(solution.value - problem.exact), axis=1)
        bound = 10 * rtol * np.linalg.norm(problem.exact, axis=1)
        require(np.all(error <= bound), f"the errors {error} exceed {bound}")


def _half_precision_states_are_solved_and_judged_in_float32(solver: Solver) -> None:
    solver, rtol = _terms(solver, "bfloat16")
    solution = problems.wide().in_dtype(jnp.bfloat16).solve(solver)
    chex.assert_type([solution.value, solution.stats.residual], [jnp.bfloat16, jnp.float32])
    worst = np.max(solution.check().stats.relative_residual)
    require(worst <= rtol, f"CONVERGED at the relative residual {worst:.2e}")


def _the_largest_entry_decides_where_that_is_asked_for(solver: Solver) -> None:
    problem = problems.wide().in_dtype("float32")
    solver, rtol = _terms(solver, "float32")
    solution = problem.solve(replace(solver, norm="max"))
    image = problem.fn(jnp.asarray(solution.value), problem.args)
    largest, scale = trees.largest(image - solution.value), trees.largest(image)
    residual = solution.check().stats.residual
    chex.assert_trees_all_close(residual, largest, rtol=1e-6, atol=1e-6 * float(np.max(scale)))
    require(np.all(largest <= 1.1 * rtol * scale), f"CONVERGED at {largest} of {scale}")


def _starting_at_the_solution_takes_one_evaluation(solver: Solver) -> None:
    # z -> z/2 + 1/2 keeps 1 exactly, z -> z/2 keeps 0.
    b = np.repeat([[0.5], [0.0]], 3, axis=1).astype(np.float32)
    problem = Problem(Split("identity", lambda z, b: 0.5 * z + b), 2 * b, b)
    solution = problem.solve(solver)
    require_statuses(solution, [Status.CONVERGED] * 2)
    require_steps(solution, [1, 1])
    chex.assert_trees_all_equal(solution.value, problem.z0)
    chex.assert_trees_all_equal(solution.stats.residual, np.zeros(2, np.float32))


def _a_zero_solution_needs_an_absolute_tolerance(solver: Solver) -> None:
    fn = Split("identity", lambda z, w: z @ w.T)
    problem = Problem(fn, np.ones((2, 6)), problems.matrix(6, 0.8)).in_dtype("float32")
    solution = problem.solve(replace(solver, atol=1e-6))
    residual = solution.check().stats.residual
    require(np.all(residual <= 1e-6), f"CONVERGED at the residuals {residual}, atol=1e-6")
    chex.assert_trees_all_close(solution.value, np.zeros((2, 6), np.float32), atol=5e-6)
    without = problem.solve(solver)
    chex.assert_tree_all_finite(without.value)
    worse = f"without atol the residuals are {without.stats.residual}, with it {residual}"
    require(np.all(without.stats.residual <= residual), worse)


def _the_path_does_not_depend_on_the_scale(dtype: str, solver: Solver) -> None:
    with jax.enable_x64(True):
        problem = problems.linear().in_dtype(dtype)
        weight, b = problem.args
        solve = problem.solver(solver)
        plain = solve(problem.z0, problem.args)
        for scale in np.asarray([2.0**-20, 2.0**20], dtype):  # exact arithmetic: the same path
            scaled = solve(problem.z0, (weight, scale * b))
            chex.assert_trees_all_equal(scaled.stats.steps, plain.stats.steps)
            chex.assert_trees_all_equal(scaled.value, scale * plain.value)
        for scale in np.asarray([1e-6, 1e6], dtype):
            scaled = solve(problem.z0, (weight, scale * b))
            gap = np.abs(scaled.stats.steps - plain.stats.steps)
            require(np.all(gap <= 1), f"{scale:g} times the load takes {gap} steps more or less")
            chex.assert_trees_all_close(scaled.value, scale * plain.value, rtol=30 * RTOL[dtype])


TRUTHS = (
    *(asked(_is_solved_in, *case) for case in _CLIMATES),
    _half_precision_states_are_solved_and_judged_in_float32,
    _the_largest_entry_decides_where_that_is_asked_for,
    _starting_at_the_solution_takes_one_evaluation,
    _a_zero_solution_needs_an_absolute_tolerance,
    asked(_the_path_does_not_depend_on_the_scale, "float32"),
    asked(_the_path_does_not_depend_on_the_scale, "float64"),
)
