"""Every solver: it solves, says truly how well, and treats every example by itself."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.core import trees
from deqzoo.core.map.split import Split
from deqzoo.core.solution import Solution, Status
from deqzoo.core.solver import Solver
from deqzoo.testing import problems
from deqzoo.testing.check import Check, are_values, asked, refuses, require
from deqzoo.testing.problems import Problem, numbers

__all__ = ["check_solver"]

_RTOL = {"bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-10}  # the promised defaults
_PATIENT = 2000  # steps in which every rule has run out of patience
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


# It solves.


def _is_solved_in(climate: str, problem: str, solver: Solver) -> None:
    """A climate is a dtype, perhaps under x64."""
    dtype = climate.split()[0]
    with jax.enable_x64(climate != "float32"):
        posed = _PROBLEMS[problem]().in_dtype(dtype)
        if posed.fits(solver):
            _judge(posed, replace(solver, max_steps=400), dtype)


def _judge(problem: Problem, solver: Solver, dtype: str) -> None:
    solution = problem.solve(solver)
    stats = solution.check().stats
    chex.assert_trees_all_equal_shapes_and_dtypes(solution.value, problem.z0)
    chex.assert_type([stats.residual, stats.relative_residual], dtype)
    chex.assert_type([stats.steps, stats.status], "int32")
    worst = np.max(stats.relative_residual)
    require(worst <= _RTOL[dtype], f"CONVERGED at the relative residual {worst:.2e}")
    _residual_is_true(problem, solution)
    if problem.exact is not None:  # |z - z*| <= residual / (1 - 0.9) in the worst problem
        error = np.max(np.abs(solution.value - problem.exact), axis=1)
        bound = 10 * _RTOL[dtype] * np.linalg.norm(problem.exact, axis=1)
        require(np.all(error <= bound), f"the errors {error} exceed {bound}")


def _residual_is_true(problem: Problem, solution: Solution, slack: float = 0.0) -> None:
    """The residual by hand, up to what rounding may change in it."""
    value = jax.tree.map(jnp.asarray, solution.value)
    image = problem.fn(value, problem.args)
    rounding = 8 * trees.coarsest_eps(value) * trees.norm(image) + slack
    measured = trees.norm(trees.subtract(image, value))
    require(
        np.all(np.abs(measured - solution.stats.residual) <= rounding),
        f"||f(z) - z|| is {measured}, declared {solution.stats.residual}",
    )


def _half_precision_states_are_solved_and_judged_in_float32(solver: Solver) -> None:
    solution = problems.wide().in_dtype(jnp.bfloat16).solve(solver)
    chex.assert_type([solution.value, solution.stats.residual], [jnp.bfloat16, jnp.float32])
    worst = np.max(solution.check().stats.relative_residual)
    require(worst <= _RTOL["bfloat16"], f"CONVERGED at the relative residual {worst:.2e}")


def _starting_at_the_solution_takes_one_evaluation(solver: Solver) -> None:
    # z -> z/2 + 1/2 keeps 1 exactly, z -> z/2 keeps 0.
    b = np.repeat([[0.5], [0.0]], 3, axis=1).astype(np.float32)
    problem = Problem(Split("identity", lambda z, b: 0.5 * z + b), 2 * b, b)
    solution = problem.solve(solver)
    _require_statuses(solution, [Status.CONVERGED] * 2)
    _require_steps(solution, [1, 1])
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
            chex.assert_trees_all_close(scaled.value, scale * plain.value, rtol=30 * _RTOL[dtype])


# It fails honestly.


def _too_few_steps_end_as_max_steps(solver: Solver) -> None:
    problem = problems.rotation(0.99).in_dtype("float32")
    solution = problem.solve(replace(solver, max_steps=3))
    _require_statuses(solution, [Status.MAX_STEPS] * 3)
    _require_steps(solution, [3] * 3)
    _residual_is_true(problem, solution)


def _one_step_judges_the_start(solver: Solver) -> None:
    problem = problems.linear().in_dtype("float32")
    solution = problem.solve(replace(solver, max_steps=1))
    chex.assert_trees_all_equal(solution.value, problem.z0)
    _require_statuses(solution, [Status.MAX_STEPS] * 3)
    chex.assert_trees_all_close(
        solution.stats.residual, np.linalg.norm(problem.args[1], axis=1), rtol=1e-6
    )


def _two_steps_are_better_than_one(solver: Solver) -> None:
    problem = problems.linear().in_dtype("float32")
    one, two = (problem.solve(replace(solver, max_steps=steps)) for steps in (1, 2))
    fell = np.all(two.stats.residual < one.stats.residual)
    require(fell, f"the residuals {one.stats.residual} became {two.stats.residual}")
    _require_steps(two, [2] * 3)


def _the_rounding_floor_is_named_long_before_max_steps(solver: Solver) -> None:
    problem = problems.wide(width=64).in_dtype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that 1e-12 is below the rounding
        solution = problem.solve(replace(solver, rtol=1e-12, max_steps=10_000))
    status, relative = (
        np.asarray(x) for x in (solution.stats.status, solution.stats.relative_residual)
    )
    _require_statuses(solution, {Status.FLOOR, Status.CONVERGED})
    require(np.any(status == Status.FLOOR), "no example ended as FLOOR")
    require(np.max(solution.stats.steps) < 2000, f"steps: {solution.stats.steps}")
    require(np.all(relative < 1e-6), f"relative residuals {relative}")
    untrue = relative[status == Status.CONVERGED] > 1e-12
    require(not np.any(untrue), f"CONVERGED at the relative residuals {relative}, rtol=1e-12")


def _an_expanding_map_is_solved_or_fails_with_the_best_iterate(solver: Solver) -> None:
    problem = problems.expanding().in_dtype("float32")
    solution = problem.solve(replace(solver, max_steps=_PATIENT))
    _require_statuses(solution, {Status.CONVERGED, Status.STAGNATED, Status.DIVERGED})
    _residual_is_true(problem, solution, slack=1e-6)
    start = (1 + 1e-6) * np.linalg.norm(problem.args[1], axis=1)
    residual = np.asarray(solution.stats.residual)
    require(np.all(residual <= start), f"the residuals {residual} exceed the start's {start}")


def _a_map_without_fixed_point_stagnates_without_nan(solver: Solver) -> None:
    # All residuals are equal: a Gram matrix of them has rank one.
    fn = Split("identity", lambda z, _: z + 1)
    solution = Problem(fn, np.zeros((2, 3), np.float32)).solve(replace(solver, max_steps=_PATIENT))
    _require_statuses(solution, [Status.STAGNATED] * 2)
    chex.assert_tree_all_finite(solution.value)
    expected = np.full(2, math.sqrt(3), np.float32)
    chex.assert_trees_all_close(solution.stats.residual, expected, atol=1e-3)


def _a_map_that_is_nan_at_the_start_gives_nan(solver: Solver) -> None:
    fn = Split("identity", lambda z, x: 0.5 * z + x)
    solution = Problem(fn, np.zeros((1, 2), np.float32), np.float32("nan")).solve(solver)
    _require_statuses(solution, [Status.NONFINITE])
    _require_steps(solution, [1])
    require(np.all(np.isnan(solution.value)), f"the value is {solution.value}")
    require(np.isnan(solution.stats.residual[0]), f"the residual is {solution.stats.residual}")


def _a_map_that_fails_later_gives_the_best_iterate(bad: float, solver: Solver) -> None:
    fn = Split("identity", lambda z, bad: jnp.where(z < 3.5, z + 1, bad))
    solution = Problem(fn, np.zeros((1, 1), np.float32), np.float32(bad)).solve(solver)
    _require_statuses(solution, [Status.NONFINITE])
    require(0 <= solution.value[0, 0] < 3.5, f"the value {solution.value} is not the best")
    chex.assert_trees_all_close(solution.stats.residual, np.ones(1, np.float32), atol=1e-5)


def _more_steps_never_make_the_answer_worse(solver: Solver) -> None:
    # Gains from a contraction to an expansion, in one batch.
    gains = np.array([0.5, 0.99, 1.0, 1.5, 4.0])[:, None]
    fn = Split("tanh", lambda z, args: z @ args[0].T * args[1] + args[2])
    args = problems.orthogonal(32), gains, numbers(5, 32)
    problem = Problem(fn, np.zeros((5, 32)), args).in_dtype("float32")
    previous = np.full(5, np.inf)
    for steps in (1, 4, 60):
        stats = problem.solve(replace(solver, max_steps=steps)).stats
        require(np.all(stats.residual <= previous), f"{previous} became {stats.residual}")
        require(np.all(stats.steps <= steps), f"{stats.steps} steps of max_steps={steps}")
        previous = stats.residual


# It treats every example by itself.


def _batch_mates_change_nothing(solver: Solver) -> None:
    problem = problems.wide(norm=0.95).in_dtype("float32")
    weight, x = problem.args
    solve = problem.solver(solver)
    kept = lambda solution: jax.tree.map(lambda leaf: leaf[:2], solution)  # noqa: E731
    alone = kept(solve(problem.z0, problem.args))
    for mates in (0 * x, 1e4 * numbers(*x.shape, seed=5), np.full_like(x, np.nan)):
        mixed = np.concatenate([x[:2], mates[2:]]).astype(np.float32)
        changed = solve(problem.z0, (weight, mixed))
        chex.assert_trees_all_equal(kept(changed), alone)
    _require_statuses(jax.tree.map(lambda leaf: leaf[2:], changed), [Status.NONFINITE] * 2)


def _an_example_finishes_at_its_own_pace(solver: Solver) -> None:
    rates = np.array([[0.0], [0.5], [0.9]], np.float32)
    problem = Problem(lambda z, r: r * jnp.sin(z) + 1, np.zeros((3, 1), np.float32), rates)
    if problem.fits(solver):
        steps = problem.solve(solver).check().stats.steps
        require(len({*steps.tolist()}) > 1, f"all took {steps} steps")


# Settings.


def _impossible_settings_are_refused(solver: Solver) -> None:
    impossible: tuple[dict[str, Any], ...] = (
        {"rtol": -1e-3},
        {"atol": -1.0},
        {"rtol": math.nan},
        {"atol": math.nan},
        {"max_steps": 0},
        {"max_steps": 2.5},
    )
    for setting in impossible:
        refuses(partial(replace, solver, **setting), setting)


def _settings_are_values(solver: Solver) -> None:
    are_values(solver, max_steps=solver.max_steps + 1)


def _require_statuses(solution: Solution, expected: list[Status] | set[Status]) -> None:
    found = [Status(status) for status in solution.stats.status.tolist()]
    allowed = set(found) <= expected if isinstance(expected, set) else found == expected
    require(allowed, f"expected {expected}, got {found} after {solution.stats.steps} steps")


def _require_steps(solution: Solution, expected: list[int]) -> None:
    found = solution.stats.steps.tolist()
    require(found == expected, f"expected {expected} steps, got {found}")


check_solver = Check(
    "solver",
    catalog.solvers.get,
    (
        _settings_are_values,
        _impossible_settings_are_refused,
        *(asked(_is_solved_in, *case) for case in _CLIMATES),
        _half_precision_states_are_solved_and_judged_in_float32,
        _starting_at_the_solution_takes_one_evaluation,
        _a_zero_solution_needs_an_absolute_tolerance,
        asked(_the_path_does_not_depend_on_the_scale, "float32"),
        asked(_the_path_does_not_depend_on_the_scale, "float64"),
        _too_few_steps_end_as_max_steps,
        _one_step_judges_the_start,
        _two_steps_are_better_than_one,
        _the_rounding_floor_is_named_long_before_max_steps,
        _an_expanding_map_is_solved_or_fails_with_the_best_iterate,
        _a_map_without_fixed_point_stagnates_without_nan,
        _a_map_that_is_nan_at_the_start_gives_nan,
        asked(_a_map_that_fails_later_gives_the_best_iterate, math.nan),
        asked(_a_map_that_fails_later_gives_the_best_iterate, math.inf),
        _more_steps_never_make_the_answer_worse,
        _batch_mates_change_nothing,
        _an_example_finishes_at_its_own_pace,
    ),
)
