"""A solver treats every example by itself."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core.solution import Status
from deqzoo.core.solver import Solver
from deqzoo.testing import problems
from deqzoo.testing.check import require
from deqzoo.testing.problems import Problem, numbers
from deqzoo.testing.solvers.solution import require_statuses


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
    require_statuses(jax.tree.map(lambda leaf: leaf[2:], changed), [Status.NONFINITE] * 2)


def _an_example_finishes_at_its_own_pace(solver: Solver) -> None:
    rates = np.array([[0.0], [0.5], [0.9]], np.float32)
    problem = Problem(lambda z, r: r * jnp.sin(z) + 1, np.zeros((3, 1), np.float32), rates)
    # A sublinear rule goes at the pace of its schedule, which is the same for all.
    if problem.fits(solver) and not solver.is_sublinear:
        steps = problem.solve(solver).check().stats.steps
        require(len({*steps.tolist()}) > 1, f"all took {steps} steps")


TRUTHS = (_batch_mates_change_nothing, _an_example_finishes_at_its_own_pace)
