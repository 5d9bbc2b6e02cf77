"""A batch solved as one example, where its examples may depend on one another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from deqzoo.core import trees
from deqzoo.core.adjoint import Adjoint, Backward
from deqzoo.core.map.program import Program
from deqzoo.core.map.split import SplitProgram
from deqzoo.core.solution import Solution
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State


def solve(
    adjoint: Adjoint,
    solver: Solver,
    fn: Program | SplitProgram,
    z0: State,
    *,
    guess: State | None = None,
    backward: Backward | None = None,
) -> Solution:
    """Z = fn(Z) for the batch Z as one state: one residual, one verdict, one adjoint equation.

    Every example is given the statistics of the batch, and the backward solve reports likewise.

    Args:
        adjoint: how the fixed point is differentiated.
        solver: how it is found.
        fn: the map.
        z0: the start, with the batch on axis 0.
        guess: another start.
        backward: what the last backward solve found, per example.
    """
    count = trees.batch_size(z0)
    report = None if backward is None else _as_one(backward)
    guess = None if guess is None else _lifted(guess)
    one: Any = _of_one(fn, z0)
    solution = adjoint(solver, one, _lifted(z0), guess=guess, backward=report)
    spread = lambda values: jnp.repeat(values, count, axis=-1)  # noqa: E731
    return replace(
        solution,
        value=_lowered(solution.value),
        stats=jax.tree.map(spread, solution.stats),
        residuals=None if solution.residuals is None else spread(solution.residuals),
        trajectory=tuple(_lowered(z) for z in solution.trajectory),
    )


def _lifted(state: State) -> State:
    return jax.tree.map(lambda leaf: leaf[None], state)


def _lowered(state: State) -> State:
    return jax.tree.map(lambda leaf: leaf[0], state)


def _of_one(fn: Program | SplitProgram, z: State) -> Program | SplitProgram:
    if isinstance(fn, SplitProgram):
        return replace(fn, affine=_of_one(fn.affine, z))
    return Program.trace(lambda z: _lifted(fn(_lowered(z))), _lifted(z))


def _as_one(backward: Backward) -> Backward:
    """Linear, so that what the backward solve reports to the one comes to all of them."""
    sums = jax.tree.map(lambda values: jnp.sum(values, keepdims=True), backward.stats)
    solution = None if backward.solution is None else _lifted(backward.solution)
    return Backward(sums, solution)
