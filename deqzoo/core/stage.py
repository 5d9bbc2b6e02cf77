"""One stage of a solve: an update rule and its loop, in which every example freezes by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import stopping, trees
from deqzoo.core.map.program import Map
from deqzoo.core.size import measure
from deqzoo.core.solution import Status
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.stopping import DRAWN, FORETOLD, HANDED, LOST, RUNNING, Progress
from deqzoo.core.trees import State


class Goal(NamedTuple):
    """What a later stage has found, and how far from there the first one is resumed."""

    z: State
    far: Float[Array, " batch"]


class Stage(NamedTuple):
    """A stage of a solve: the update rule and what its loop needs to know.

    For a loop of one's own: ``begin`` takes the first step and ``advance`` one more; ``status`` is
    below zero where an example goes on, and ``z`` is its latest iterate.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> from deqzoo.core.stage import Stage, advance, begin
        >>> z0 = jnp.zeros((1, 1))
        >>> stage = Stage(catalog.solvers.get("picard"), lambda z: 0.5 * z + 1, rtol=1e-5)
        >>> progress = begin(stage, z0, stage.fn(z0))
        >>> for _ in range(2):
        ...     progress = advance(stage, progress)
        >>> float(progress.z[0, 0]), float(progress.norm[0]), bool(progress.status[0] < 0)
        (1.75, 0.25, True)
    """

    solver: Solver
    fn: Map
    rtol: float
    hands_over: Any = False
    waits: bool = False  # until growth ends, before an example is handed over
    replays: Any = False
    goal: Goal | None = None


def enter(stage: Stage, carry: Progress) -> Progress:
    """Begin a stage: what the one before handed over runs again."""
    handed = is_left(carry)
    return carry._replace(
        memory=vary(stage.solver.init(stage.fn, carry.z), carry.norm),
        best=None if stage.replays else carry.z,
        best_norm=jnp.where(handed, jnp.inf, carry.best_norm),
        best_step=jnp.where(handed, 0, carry.best_step),
        status=jnp.where(handed, RUNNING, carry.status),
        step=jnp.zeros_like(carry.step),
    )


def is_left(carry: Progress) -> Bool[Array, " batch"]:
    """What the next stage is to take."""
    return (carry.status == HANDED) | (carry.status == LOST)


def settle(carry: Progress) -> Progress:
    """End a stage: every example stands at its best iterate, or where the next stage begins."""
    return carry._replace(z=carry.z if carry.best is None else carry.best, best=None, memory=None)


def vary(constants: Any, like: State) -> Any:
    """Inside ``shard_map``: constants that count as different on every device, as ``like`` is."""
    axes = frozenset().union(*(_axes(leaf) for leaf in jax.tree.leaves(like)))

    def vary(leaf):
        missing = tuple(axes - _axes(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, constants)


def _axes(leaf: Array) -> frozenset:
    return frozenset(jax.typeof(leaf).manual_axis_type.varying)


def begin(stage: Stage, z0: State, image: State) -> Progress:
    """The first step of a solve, whose evaluation is made: nothing but its size can end it."""
    solver = stage.solver
    evaluation, scale = _evaluate(stage, z0, image)
    carry = enter(stage, vary(stopping.begin(solver, evaluation, scale), image))
    z, memory = solver.step(evaluation, carry.memory)
    steps = carry.steps + 1 + solver.spent(memory)
    ends = (carry.status == RUNNING) & (steps >= solver.max_steps)
    status = jnp.where(ends, Status.MAX_STEPS.value, carry.status)
    converged = _has_converged(evaluation, scale)
    status = jnp.where(converged, Status.CONVERGED.value, status).astype(jnp.int32)
    return carry._replace(
        z=trees.select(status == RUNNING, z, z0),
        memory=memory,
        steps=steps,
        status=status,
        step=carry.step + 1,
    )


# The loops.


def iterate(
    stage: Stage, carry: Progress, origin: State, *, differentiable: bool, checkpoint: bool
) -> Progress:
    """Take steps until every example is finished or handed over.

    Args:
        stage: the rule.
        carry: where it stands, as ``enter`` left it.
        origin: the state of the first evaluation.
        differentiable: whether reverse mode is to pass through.
        checkpoint: whether that keeps one state per step alone.
    """
    return _scan(stage, carry, checkpoint) if differentiable else _loop(stage, carry, origin)


def no_limit(carry: Progress) -> Int[Array, " batch"]:
    """More steps than any example can take."""
    return jnp.full_like(carry.steps, jnp.iinfo(jnp.int32).max)


def _active(carry: Progress, limit: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    return (carry.status == RUNNING) & (carry.steps < limit)


def _loop(stage: Stage, carry: Progress, z0: State) -> Progress:
    def until(limit):
        return lax.while_loop(
            lambda carry: jnp.any(_active(carry, limit)),
            lambda carry: _body(stage, carry, limit),
            carry,
        )

    if stage.replays is False:
        return until(no_limit(carry))
    return _replay(until, carry, z0, stage.replays)


def _replay(until: Any, carry: Progress, z0: State, wanted: Any) -> Progress:
    """Run; where the last iterate of an example is not its best, run again up to the best.

    Both turns are one nested loop, so that the map is compiled once. Equal steps give equal bits:
    examples that had ended at their best come out as they were.
    """

    def turn(state):
        first, limit, kept, _ = state
        reached = until(limit)
        old, new = kept._replace(z=None), reached._replace(z=None)
        kept = jax.tree.map(lambda a, b: jnp.where(first, b, a), old, new)._replace(z=reached.z)
        lag = (kept.best_step > 0) & (kept.best_step < kept.steps - 1) & wanted
        return jnp.zeros_like(first), kept.best_step, kept, first & jnp.any(lag)

    yes = vary(jnp.ones((), bool), carry.norm)
    kept = lax.while_loop(lambda state: state[3], turn, (yes, no_limit(carry), carry, yes))[2]
    return kept._replace(z=trees.select((kept.best_step == 0) & wanted, z0, kept.z))


def _scan(stage: Stage, carry: Progress, checkpoint: bool) -> Progress:
    body = lambda carry: _body(stage, carry, no_limit(carry))  # noqa: E731
    step = jax.checkpoint(body) if checkpoint else body
    length = -(-stage.solver.max_steps // stage.solver.check_every)
    return lax.scan(lambda carry, _: (step(carry), None), carry, length=length)[0]


# One step.


def _body(stage: Stage, carry: Progress, limit: Int[Array, " batch"]) -> Progress:
    blind = stage.solver.check_every - 1
    if blind:
        carry = lax.fori_loop(0, blind, lambda _, c: _advance_blindly(stage, c, limit), carry)
    return advance(stage, carry, limit)


def advance(stage: Stage, carry: Progress, limit: Int[Array, " batch"] | None = None) -> Progress:
    """Evaluate, judge every example, and move those that go on.

    Args:
        stage: the rule.
        carry: where it stands.
        limit: steps after which an example stands still.
    """
    solver, active = stage.solver, _active(carry, no_limit(carry) if limit is None else limit)
    evaluation, scale = _evaluate(stage, carry.z, stage.fn(carry.z), carry)
    tolerance = evaluation.tolerance
    converged = _has_converged(evaluation, scale)
    better = active & (converged | (evaluation.norm < carry.best_norm))
    fell = evaluation.norm < carry.norm
    carry = stopping.note(
        solver, carry, evaluation, scale, active, better, hands_over=stage.hands_over is not False
    )
    evaluation = evaluation._replace(best_norm=carry.best_norm)
    z, memory = solver.step(evaluation, carry.memory)
    carry = carry._replace(steps=carry.steps + jnp.where(active, 1 + solver.spent(memory), 0))
    status = stopping.judge(
        solver, carry, tolerance, hands_over=stage.hands_over, waits=stage.waits
    )
    if stage.goal is not None:
        drawn = (status == RUNNING) & stopping.is_drawn(carry, z, *stage.goal)
        status = jnp.where(drawn, DRAWN, status)
    status = jnp.where(active, jnp.where(converged, Status.CONVERGED.value, status), carry.status)
    moves = active & (status < 0)
    # What is handed over starts the next stage here if its residual fell, else from its best.
    ahead = moves & ((status == FORETOLD) | ((status == HANDED) & fell))
    return carry._replace(
        z=trees.select(moves, z, carry.z),
        memory=memory,
        best=_keep(carry, better, ahead, z),
        best_step=jnp.where(ahead, carry.step + 1, carry.best_step),
        status=status.astype(jnp.int32),
        step=carry.step + 1,
    )


def _advance_blindly(stage: Stage, carry: Progress, limit: Int[Array, " batch"]) -> Progress:
    """A step without judgement; never the last one allowed."""
    active = _active(carry, jnp.minimum(limit, stage.solver.max_steps - 1))
    evaluation, _ = _evaluate(stage, carry.z, stage.fn(carry.z), carry)
    z, memory = stage.solver.step(evaluation, carry.memory)
    return carry._replace(
        z=trees.select(active, z, carry.z),
        memory=memory,
        steps=carry.steps + jnp.where(active, 1 + stage.solver.spent(memory), 0),
        step=carry.step + 1,
    )


def _evaluate(
    stage: Stage, z: State, image: State, carry: Progress | None = None
) -> tuple[Evaluation, Float[Array, " batch"]]:
    """What the rule may look at, and how large the value is."""
    norm, scale = measure(stage.fn, z, image, stage.solver.norm)
    evaluation = Evaluation(
        fn=stage.fn,
        z=z,
        fz=image,
        residual=trees.subtract(image, z),
        norm=norm,
        tolerance=stage.solver.atol + stage.rtol * scale,
        best_norm=norm if carry is None else jnp.minimum(norm, carry.best_norm),
        step=jnp.zeros((), jnp.int32) if carry is None else carry.step,
    )
    return evaluation, scale


def _has_converged(evaluation: Evaluation, scale: Array) -> Bool[Array, " batch"]:
    return jnp.isfinite(scale) & (evaluation.norm <= evaluation.tolerance)  # inf <= rtol * inf


def _keep(carry: Progress, better: Array, ahead: Array, z: State) -> State | None:
    """The best iterate, where the loop holds a copy of it."""
    if carry.best is None:
        return None
    return trees.select(ahead, z, trees.select(better, carry.z, carry.best))
