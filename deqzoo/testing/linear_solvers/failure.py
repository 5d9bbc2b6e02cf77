"""A linear solver fails honestly, and every example by itself."""

from __future__ import annotations

import math

import chex
import jax
import numpy as np

from deqzoo.core.linear_solver import LinearSolver
from deqzoo.core.solution import Status
from deqzoo.testing.check import asked, require
from deqzoo.testing.linear_solvers.equations import MATRICES, B, N, run, with_radius
from deqzoo.testing.problems import numbers


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


TRUTHS = (
    _a_singular_equation_is_not_called_solved,
    *(
        asked(_a_non_finite_example_fails_alone, where, bad)
        for where in ("matrix", "b")
        for bad in (math.nan, math.inf)
    ),
    _batch_mates_change_nothing,
)
