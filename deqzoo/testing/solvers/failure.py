"""A solver fails honestly: with the right status, the best iterate and its true residual."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import chex
import jax.numpy as jnp
import numpy as np

from deqzoo.core.map.split import Split
from deqzoo.core.solution import Status
from deqzoo.core.solver import Solver
from deqzoo.testing import problems
from deqzoo.testing.check import asked, require
from deqzoo.testing.problems import Problem, numbers
from deqzoo.testing.solvers.solution import require_statuses, require_steps, require_true_residual

_PATIENT = 2000  # steps in which every rule has run out of patience


def _too_few_steps_end_as_max_steps(solver: Solver) -> None:
    problem = problems.rotation(0.99).in_dtype("float32")
    solution = problem.solve(replace(solver, max_steps=3))
    require_statuses(solution, [Status.MAX_STEPS] * 3)
    require_steps(solution, [3] * 3)
    require_true_residual(problem, solution)


def _one_step_judges_the_start(solver: Solver) -> None:
    problem = problems.linear().in_dtype("float32")
    solution = problem.solve(replace(solver, max_steps=1))
    chex.assert_trees_all_equal(solution.value, problem.z0)
    require_statuses(solution, [Status.MAX_STEPS] * 3)
    chex.assert_trees_all_close(
        solution.stats.residual, np.linalg.norm(problem.args[1], axis=1), rtol=1e-6
    )


def _two_steps_are_better_than_one(solver: Solver) -> None:
    problem = problems.linear().in_dtype("float32")
    one, two = (problem.solve(replace(solver, max_steps=steps)) for steps in (1, 2))
    fell = np.all(two.stats.residual < one.stats.residual)
    require(fell, f"the residuals {one.stats.residual} became {two.stats.residual}")
    require_steps(two, [2] * 3)


def _the_rounding_floor_is_named_long_before_max_steps(solver: Solver) -> None:
    if solver.is_sublinear:
        return  # it comes down to no floor in any number of steps that one would wait for
    problem = problems.wide(width=64).in_dtype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that 1e-12 is below the rounding
        solution = problem.solve(replace(solver, rtol=1e-12, max_steps=10_000))
    status, relative = (
        np.asarray(x) for x in (solution.stats.status, solution.stats.relative_residual)
    )
    require_statuses(solution, {Status.FLOOR, Status.CONVERGED})
    require(np.any(status == Status.FLOOR), "no example ended as FLOOR")
    require(np.max(solution.stats.steps) < 2000, f"steps: {solution.stats.steps}")
    require(np.all(relative < 1e-6), f"relative residuals {relative}")
    untrue = relative[status == Status.CONVERGED] > 1e-12
    require(not np.any(untrue), f"CONVERGED at the relative residuals {relative}, rtol=1e-12")


def _an_expanding_map_is_solved_or_fails_with_the_best_iterate(solver: Solver) -> None:
    problem = problems.expanding().in_dtype("float32")
    solution = problem.solve(replace(solver, max_steps=_PATIENT))
    require_statuses(solution, {Status.CONVERGED, Status.STAGNATED, Status.DIVERGED})
    require_true_residual(problem, solution, slack=1e-6)
    start = (1 + 1e-6) * np.linalg.norm(problem.args[1], axis=1)
    residual = np.asarray(solution.stats.residual)
    require(np.all(residual <= start), f"the residuals {residual} exceed the start's {start}")


def _a_map_without_fixed_point_stagnates_without_nan(solver: Solver) -> None:
    # All residuals are equal: a Gram matrix of them has rank one.
    fn = Split("identity", lambda z, _: z + 1)
    solution = Problem(fn, np.zeros((2, 3), np.float32)).solve(replace(solver, max_steps=_PATIENT))
    require_statuses(solution, [Status.STAGNATED] * 2)
    chex.assert_tree_all_finite(solution.value)
    expected = np.full(2, math.sqrt(3), np.float32)
    chex.assert_trees_all_close(solution.stats.residual, expected, atol=1e-3)


def _a_map_that_is_nan_at_the_start_gives_nan(solver: Solver) -> None:
    fn = Split("identity", lambda z, x: 0.5 * z + x)
    solution = Problem(fn, np.zeros((1, 2), np.float32), np.float32("nan")).solve(solver)
    require_statuses(solution, [Status.NONFINITE])
    require_steps(solution, [1])
    require(np.all(np.isnan(solution.value)), f"the value is {solution.value}")
    require(np.isnan(solution.stats.residual[0]), f"the residual is {solution.stats.residual}")


def _a_map_that_fails_later_gives_the_best_iterate(bad: float, solver: Solver) -> None:
    fn = Split("identity", lambda z, bad: jnp.where(z < 3.5, z + 1, bad))
    solution = Problem(fn, np.zeros((1, 1), np.float32), np.float32(bad)).solve(solver)
    require_statuses(solution, [Status.NONFINITE])
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


TRUTHS = (
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
)
