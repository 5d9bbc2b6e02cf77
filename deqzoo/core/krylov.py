"""What solvers of (I - J) u = b share: states as rows, and the verdict on what was found."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import stopping, trees
from deqzoo.core.linear_solver import Answer, LinearSolver, best_multiple
from deqzoo.core.map.program import Map
from deqzoo.core.solution import Stats, Status
from deqzoo.core.trees import State

_FLOOR_FACTOR = 64.0  # a residual within this many roundings of u and b cannot be expected to fall

Rows = Float[Array, "batch size"]
Numbers = Float[Array, " batch"]


def operator(product: Map, like: State) -> Map:
    """The map u -> u - Ju on rows."""
    return lambda rows: rows - trees.ravel(product(trees.unravel(rows, like)))


def terms(
    solver: LinearSolver, rhs: State, goal: Numbers | None, limit: Int[Array, " batch"] | None
) -> tuple[Numbers, Int[Array, " batch"]]:
    """The goal and the limit of every example: those given, or those of the solver."""
    scale = length(trees.ravel(rhs))
    if goal is None:
        goal = stopping.resolve_rtol(solver.rtol, rhs) * scale
    if limit is None:
        limit = jnp.zeros_like(scale, jnp.int32) + solver.max_steps
    return goal, limit


def start(apply: Map, b: Rows, guess: State | None) -> tuple[Rows, Rows, int]:
    """Zero or the best multiple of a guess, its residual, and the products that it took."""
    if guess is None:
        return jnp.zeros_like(b), b, 0
    rows = trees.ravel(guess)
    change = apply(rows)
    multiple, share = best_multiple(b, change)
    better, multiple = (share > 0)[:, None], multiple[:, None]  # false for NaN
    u, residual = multiple * rows, b - multiple * change
    return jnp.where(better, u, 0), jnp.where(better, residual, b), 1


def dot(a: Rows, b: Rows) -> Numbers:
    """<a, b> per example."""
    # As a product with ones the sum is blocked and vectorised on every backend.
    return jnp.matmul(a * b, jnp.ones(a.shape[1], a.dtype), precision="highest")


def length(rows: Rows) -> Numbers:
    """‖a‖₂ per example, for rows of size about one."""
    return jnp.sqrt(trees.squared_norm(rows))


def verdict(
    u: Rows,
    residual: Rows,
    b: Rows,
    goal: Numbers,
    steps: Int[Array, " batch"],
    exhausted: Bool[Array, " batch"],
    like: State,
) -> Answer:
    """The answer with its statistics.

    Args:
        u: what was found.
        residual: b - u + Ju, measured at u.
        b: right-hand side.
        goal: the norm of the residual that was wanted.
        steps: products that were spent.
        exhausted: whether more of them were wanted than allowed.
        like: the state whose structure the answer takes.
    """
    norm, scale = length(residual), length(b)
    rounding = trees.coarsest_eps(like) * (scale + length(u))
    status = jnp.where(norm <= _FLOOR_FACTOR * rounding, Status.FLOOR, Status.STAGNATED)
    status = jnp.where(exhausted, Status.MAX_STEPS, status)
    status = jnp.where(norm <= goal, Status.CONVERGED, status)
    status = jnp.where(jnp.isfinite(norm), status, Status.NONFINITE).astype(jnp.int32)
    relative = norm / jnp.where(scale > 0, scale, 1)
    stats = Stats(steps, norm, relative, status, jnp.full_like(norm, jnp.inf))
    return Answer(trees.unravel(u, like), stats, stopping.is_sound(norm, scale))
