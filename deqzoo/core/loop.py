"""A fixed-point solve from its start to its statistics.

A solver is only an update rule: its loop is ``deqzoo.core.stage``, several of them in turn are
``deqzoo.core.turns``, and when an example is finished is decided in ``deqzoo.core.stopping``.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import precision, stopping, trees, turns
from deqzoo.core.map.program import Map
from deqzoo.core.size import measure
from deqzoo.core.solution import Solution, Stats, Status
from deqzoo.core.solver import Solver
from deqzoo.core.stage import Stage, begin, is_left, iterate, settle
from deqzoo.core.stopping import FORETOLD, Progress
from deqzoo.core.trees import State


class Run(NamedTuple):
    """A solve and what is known of it besides its solution.

    Attributes:
        solution: the solution.
        memory: what the rule remembers; None of several in turn.
        sound: whether the residual inside the loop was finite and below a tenth of the value.
        slow: with ``leaves_slow``, the examples that were left.
    """

    solution: Solution
    memory: Any
    sound: Bool[Array, " batch"]
    slow: Bool[Array, " batch"]


def solve(
    solver: Solver,
    fn: Map,
    z0: State,
    *,
    guess: State | None = None,
    differentiable: bool = False,
    checkpoint: bool = False,
) -> Solution:
    """Iterate ``solver`` on z = fn(z) from ``z0`` until every example is finished.

    Args:
        solver: the update rule and its tolerances.
        fn: the map; keeps structure, shapes and dtypes of ``z0`` and the examples apart.
        z0: start, a pytree with the batch on axis 0.
        guess: another start, taken by the examples for which its relative residual is less than
            half that of ``z0``; a stale one costs one evaluation.
        differentiable: run ``max_steps`` steps of a ``scan`` (frozen once finished) instead of a
            ``while_loop``, so that reverse mode can pass through. Values are the same.
        checkpoint: of a differentiable solve, keep one state per step and compute the rest again.

    Returns:
        The best iterate of every example with its statistics.
    """
    return run(
        solver, fn, z0, guess=guess, differentiable=differentiable, checkpoint=checkpoint
    ).solution


def run(
    solver: Solver,
    fn: Map,
    z0: State,
    *,
    guess: State | None = None,
    differentiable: bool = False,
    checkpoint: bool = False,
    leaves_slow: bool = False,
) -> Run:
    """``solve``, and what else came of it.

    With ``leaves_slow`` an example that would need many more steps is left where it is.
    """
    rtol = stopping.resolve_rtol(solver.rtol, z0)
    first = fn if differentiable else getattr(fn, "start", fn)  # which whole programs have
    start, image, spent = _choose_start(solver, fn, first, z0, guess, rtol)
    first, *others = solver.stages()
    replays = first.is_monotone and not differentiable
    stage = Stage(first, fn, rtol, leaves_slow or bool(others), bool(others), replays)
    carry = begin(stage, start, image)
    onwards = functools.partial(iterate, differentiable=differentiable, checkpoint=checkpoint)
    memory = None
    if others:
        stages = [stage, *(Stage(rule, fn, rtol, rule is not others[-1]) for rule in others)]
        carry = turns.take(stages, onwards, carry, start, differentiable=differentiable)
    else:
        carry = onwards(stage, carry, start)
        memory, carry = carry.memory, settle(carry)
    slow = is_left(carry)
    sound = slow | stopping.is_sound(carry.best_norm, carry.best_scale)
    return Run(_finish(solver, fn, rtol, carry, spent), memory, sound, slow)


# Where to start.


def _choose_start(
    solver: Solver, fn: Map, first: Map, z0: State, guess: State | None, rtol: float
) -> tuple[State, State, Int[Array, " batch"]]:
    """Start, its image, and how many evaluations went before.

    The first evaluation, ``first``, stands outside the loop: there zeros cost no whole product.
    """
    none = jnp.zeros(trees.batch_size(z0), jnp.int32)
    if guess is not None:
        cold, warm = first(z0), fn(guess)
        relative = functools.partial(_relative, fn, norm=solver.norm)
        better = relative(guess, warm) < stopping.STALE * relative(z0, cold)  # false for NaN
        start, image = trees.select(better, guess, z0), trees.select(better, warm, cold)
        return start, image, jnp.where(better, none, none + 1)
    if solver.precision is None:
        return z0, first(z0), none
    start, spent = precision.approach(solver, fn, z0, rtol, run)
    return start, fn(start), spent


def _relative(fn: Map, z: State, fz: State, norm: str) -> Float[Array, " batch"]:
    residual, scale = measure(fn, z, fz, norm)
    return residual / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)


# The end.


def _finish(
    solver: Solver, fn: Map, rtol: float, carry: Progress, spent: Int[Array, " batch"]
) -> Solution:
    measured = jnp.isfinite(carry.best_norm)
    value = trees.or_nan(measured, carry.z)
    norm, scale, status = carry.best_norm, carry.best_scale, carry.status
    if any(rule.is_predictable for rule in solver.stages()):
        norm, scale, status = _verify(solver, fn, rtol, value, carry)
    residual = jnp.where(measured, norm, jnp.nan)
    tiny = jnp.finfo(residual.dtype).tiny
    stats = Stats(
        steps=carry.steps + spent,
        residual=residual,
        relative_residual=residual / jnp.maximum(scale, tiny),
        status=status,
        rate=jnp.where(carry.steps > 1, carry.rate, jnp.inf),
    )
    trajectory = tuple(
        trees.select(carry.steps <= step, value, kept)
        for step, kept in zip(solver.trajectory, carry.trajectory, strict=True)
    )
    return Solution(value, stats, carry.trace, trajectory)


def _verify(solver: Solver, fn: Map, rtol: float, value: State, carry: Progress) -> tuple:
    """Measure what was foretold.

    The compiler drops this evaluation if nobody looks at the statistics, and shares it with the
    linearisation of the adjoint where there is one.
    """
    foretold = carry.status == FORETOLD
    measured = measure(fn, value, fn(value), solver.norm)
    norm = jnp.where(foretold, measured[0], carry.best_norm)
    scale = jnp.where(foretold, measured[1], carry.best_scale)
    kept = norm <= solver.atol + rtol * scale
    verdict = jnp.where(kept, Status.CONVERGED.value, Status.MISSED.value)
    return norm, scale, jnp.where(foretold, verdict, carry.status).astype(jnp.int32)
