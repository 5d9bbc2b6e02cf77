"""The one fixed-point loop: freezing per example, best iterate, NaN isolation and statistics.

A solver is only an update rule. When an example is finished is decided in ``deqzoo.core.stopping``.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import precision, stopping, trees
from deqzoo.core.map.program import Map
from deqzoo.core.size import Size, measure, unit_of
from deqzoo.core.solution import Solution, Stats, Status
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.stopping import DRAWN, FORETOLD, HANDED, LOST, RUNNING, Progress
from deqzoo.core.trees import State


class Run(NamedTuple):
    """A solve and what is known of it besides its solution.

    Attributes:
        solution: the solution.
        memory: what the first rule remembers.
        sound: whether the residual inside the loop was finite and below a tenth of the value.
        slow: with ``leaves_slow``, the examples that were left.
    """

    solution: Solution
    memory: Any
    sound: Bool[Array, " batch"]
    slow: Bool[Array, " batch"]


class _Goal(NamedTuple):
    """What a later stage has found, and how far from there the first one is resumed."""

    z: State
    far: Float[Array, " batch"]


class _Stage(NamedTuple):
    """A stage of a solve: the update rule and what its loop needs to know."""

    solver: Solver
    fn: Map
    rtol: float
    hands_over: Any = False
    waits: bool = False  # until growth ends, before an example is handed over
    replays: Any = False
    goal: _Goal | None = None


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
    carry = _vary(stopping.begin(solver, start, unit_of(start, image)), image)
    first, *others = solver.stages()
    replays = first.is_monotone and not differentiable
    stage = _Stage(first, fn, rtol, leaves_slow or bool(others), bool(others), replays)
    carry = _advance(stage, _enter(stage, carry), _no_limit(carry), image)

    def iterate(stage: _Stage, carry: Progress, origin: State) -> Progress:
        if differentiable:
            return _scan(stage, carry, checkpoint)
        return _loop(stage, carry, origin)

    if not others:
        carry = iterate(stage, carry, start)
        memory, carry = carry.memory, _settle(carry)
    else:
        later = [_Stage(rule, fn, rtol, rule is not others[-1]) for rule in others]
        turns = functools.partial(_turn, stage, later, iterate)
        memory, carry = None, _in_turns(turns, carry, start, differentiable)
    slow = _is_left(carry)
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
        better = _relative(guess, warm) < stopping.STALE * _relative(z0, cold)  # false for NaN
        start, image = trees.select(better, guess, z0), trees.select(better, warm, cold)
        return start, image, jnp.where(better, none, none + 1)
    if solver.precision is None:
        return z0, first(z0), none
    start, spent = precision.approach(solver, fn, z0, rtol, run)
    return start, fn(start), spent


def _relative(z: State, fz: State) -> Float[Array, " batch"]:
    z, fz = lax.stop_gradient((z, fz))
    norm, scale = trees.norm(trees.subtract(fz, z)), trees.norm(fz)
    return norm / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)


def _enter(stage: _Stage, carry: Progress) -> Progress:
    """Begin a stage: what the one before handed over runs again."""
    handed = _is_left(carry)
    return carry._replace(
        memory=_vary(stage.solver.init(stage.fn, carry.z), carry.norm),
        best=None if stage.replays else carry.z,
        best_norm=jnp.where(handed, jnp.inf, carry.best_norm),
        best_step=jnp.where(handed, 0, carry.best_step),
        status=jnp.where(handed, RUNNING, carry.status),
        step=jnp.zeros_like(carry.step),
    )


def _is_left(carry: Progress) -> Bool[Array, " batch"]:
    return (carry.status == HANDED) | (carry.status == LOST)


def _settle(carry: Progress) -> Progress:
    """End a stage: every example stands at its best iterate, or where the next stage begins."""
    return carry._replace(z=carry.z if carry.best is None else carry.best, best=None, memory=None)


def _vary(constants: Any, like: State) -> Any:
    """Inside ``shard_map``: constants that count as different on every device, as ``like`` is."""
    axes = frozenset().union(*(_axes(leaf) for leaf in jax.tree.leaves(like)))

    def vary(leaf):
        missing = tuple(axes - _axes(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, constants)


def _axes(leaf: Array) -> frozenset:
    return frozenset(jax.typeof(leaf).manual_axis_type.varying)


# The loops.


def _no_limit(carry: Progress) -> Int[Array, " batch"]:
    return jnp.full_like(carry.steps, jnp.iinfo(jnp.int32).max)


def _active(carry: Progress, limit: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    return (carry.status == RUNNING) & (carry.steps < limit)


def _loop(stage: _Stage, carry: Progress, z0: State) -> Progress:
    def until(limit):
        return lax.while_loop(
            lambda carry: jnp.any(_active(carry, limit)),
            lambda carry: _body(stage, carry, limit),
            carry,
        )

    if stage.replays is False:
        return until(_no_limit(carry))
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

    yes = _vary(jnp.ones((), bool), carry.norm)
    kept = lax.while_loop(lambda state: state[3], turn, (yes, _no_limit(carry), carry, yes))[2]
    return kept._replace(z=trees.select(kept.best_step == 0, z0, kept.z))


def _scan(stage: _Stage, carry: Progress, checkpoint: bool) -> Progress:
    body = lambda carry: _body(stage, carry, _no_limit(carry))  # noqa: E731
    step = jax.checkpoint(body) if checkpoint else body
    length = -(-stage.solver.max_steps // stage.solver.check_every)
    return lax.scan(lambda carry, _: (step(carry), None), carry, length=length)[0]


# One step.


def _body(stage: _Stage, carry: Progress, limit: Int[Array, " batch"]) -> Progress:
    blind = stage.solver.check_every - 1
    if blind:
        carry = lax.fori_loop(0, blind, lambda _, c: _advance_blindly(stage, c, limit), carry)
    return _advance(stage, carry, limit)


def _advance(
    stage: _Stage, carry: Progress, limit: Int[Array, " batch"], image: State | None = None
) -> Progress:
    """Evaluate, judge every example, and move those that go on."""
    solver, chosen = stage.solver, _active(carry, limit)
    evaluation, size = _evaluate(stage, carry, image)
    tolerance, scale, active = evaluation.tolerance, size.scale, chosen & size.seen
    converged = jnp.isfinite(scale) & (evaluation.norm <= tolerance)  # inf <= rtol * inf
    better = active & (converged | (evaluation.norm < carry.best_norm))
    carry = stopping.note(solver, carry, evaluation, scale, active, better)
    evaluation = evaluation._replace(best_norm=carry.best_norm)
    z, memory = solver.step(evaluation, carry.memory)
    spent = jnp.where(active, 1 + solver.spent(memory), chosen.astype(carry.steps.dtype))
    carry = carry._replace(steps=carry.steps + spent)
    status = stopping.judge(
        solver, carry, tolerance, hands_over=stage.hands_over, waits=stage.waits
    )
    if stage.goal is not None:
        drawn = (status == RUNNING) & stopping.is_drawn(carry, z, *stage.goal)
        status = jnp.where(drawn, DRAWN, status)
    status = jnp.where(active, jnp.where(converged, Status.CONVERGED.value, status), carry.status)
    moves = active & (status < 0)
    # What is handed over starts the next stage here if its residual fell, else from its best.
    ahead = moves & ((status == FORETOLD) | ((status == HANDED) & (carry.ratio < 1)))
    return carry._replace(
        z=trees.select(moves, z, carry.z),
        memory=memory,
        best=_keep(carry, better, ahead, z),
        best_step=jnp.where(ahead, carry.step + 1, carry.best_step),
        status=status.astype(jnp.int32),
        step=carry.step + 1,
        unit=size.unit,
        peak=jnp.where(size.seen, carry.peak, 1),  # else the next ratio would say too much
    )


def _advance_blindly(stage: _Stage, carry: Progress, limit: Int[Array, " batch"]) -> Progress:
    """A step without judgement; never the last one allowed."""
    active = _active(carry, jnp.minimum(limit, stage.solver.max_steps - 1))
    evaluation, size = _evaluate(stage, carry, None)
    z, memory = stage.solver.step(evaluation, carry.memory)
    return carry._replace(
        z=trees.select(active, z, carry.z),
        memory=memory,
        steps=carry.steps + jnp.where(active, 1 + stage.solver.spent(memory), 0),
        step=carry.step + 1,
        unit=size.unit,
    )


def _evaluate(stage: _Stage, carry: Progress, image: State | None) -> tuple[Evaluation, Size]:
    """What the rule may look at, and how large it is."""
    fz = stage.fn(carry.z) if image is None else image
    size = measure(carry.z, fz, carry.unit)
    evaluation = Evaluation(
        fn=stage.fn,
        z=carry.z,
        fz=fz,
        residual=trees.subtract(fz, carry.z),
        norm=size.norm,
        tolerance=stage.solver.atol + stage.rtol * size.scale,
        best_norm=jnp.minimum(size.norm, carry.best_norm),
        step=carry.step,
        unit=carry.unit,
    )
    return evaluation, size


def _keep(carry: Progress, better: Array, ahead: Array, z: State) -> State | None:
    """The best iterate, where the loop holds a copy of it."""
    if carry.best is None:
        return None
    return trees.select(ahead, z, trees.select(better, carry.z, carry.best))


# Several stages.


class _Turn(NamedTuple):
    """A turn through the stages that is to come, and what came of the one before.

    Attributes:
        carry: where the first stage goes on.
        origin: from where.
        kept: what was found.
        far: how far that is from the origin; 0 if it is nothing to be drawn to.
        returns: the examples that take the turn.
        is_first: whether the first stage may hand over.
    """

    carry: Progress
    origin: State
    kept: Progress
    far: Float[Array, " batch"]
    returns: Bool[Array, " batch"]
    is_first: Bool[Array, ""]


def _in_turns(turn: Any, carry: Progress, start: State, differentiable: bool) -> Progress:
    """One turn, and a second one for who returns: one loop, so that a stage is compiled once."""
    yes = _vary(jnp.ones((), bool), carry.norm)
    everybody = jnp.ones_like(carry.status, bool)
    state = _Turn(carry, start, _settle(carry), jnp.zeros_like(carry.norm), everybody, yes)
    if differentiable:
        once = lambda state, _: (lax.cond(jnp.any(state.returns), turn, lambda s: s, state), None)  # noqa: E731
        return lax.scan(once, state, length=2)[0].kept
    return lax.while_loop(lambda state: jnp.any(state.returns), turn, state).kept


def _turn(stage: _Stage, later: list[_Stage], iterate: Any, turn: _Turn) -> _Turn:
    """Take the stages; who returns takes plain steps again from where they were left.

    A rule that minimises residuals finds equilibria that repel as well, near which plain steps make
    a residual grow. Where one did, or nothing was found, an example goes on from where it was
    handed over, until it is drawn to what was found or has another limit, which then is the result.
    """
    # What returns is taken where it has arrived: its last iterate is its best.
    replays = stage.replays and turn.is_first
    goal = _Goal(turn.kept.z, turn.far)
    here = stage._replace(hands_over=turn.is_first, replays=replays, goal=goal)
    left = carry = _settle(iterate(here, turn.carry, turn.origin))
    for each in later:
        # Where nobody comes this far, the memory of the rule is not even touched.
        carry = lax.cond(
            jnp.any(_is_left(carry)),
            lambda carry, each=each: _doubted(each, iterate(each, _enter(each, carry), carry.z)),
            lambda carry: carry,
            carry,
        )
    found = carry.status == Status.CONVERGED
    taken = turn.is_first | (turn.returns & (found | (carry.status == FORETOLD)))
    kept = carry._replace(**_chosen(taken, carry, turn.kept))
    returns = turn.is_first & (left.status == HANDED) & ((carry.rose > 0) | ~found)
    returns &= carry.steps < stage.solver.max_steps
    returns &= stage.solver.is_monotone
    again = carry._replace(
        z=left.z,
        status=jnp.where(returns, HANDED, carry.status),
        rose=jnp.zeros_like(carry.rose),
        unit=left.unit,
    )
    far = jnp.where(found, trees.norm(trees.subtract(left.z, carry.z)), 0)
    no = jnp.zeros_like(turn.is_first)
    return _Turn(_enter(stage, again), left.z, kept, far, returns, no)


def _doubted(stage: _Stage, carry: Progress) -> Progress:
    """End a later stage, where its rule saw whether plain steps lead away from what it found."""
    grew = stage.solver.grew(carry.memory)
    return _settle(carry)._replace(rose=jnp.where(grew, 1, carry.rose))


def _chosen(taken: Bool[Array, " batch"], new: Progress, old: Progress) -> dict[str, Any]:
    """What belongs to the better of two results."""
    names = ("z", "best_norm", "best_scale", "norm", "ratio", "peak", "rate", "status")
    return {name: trees.select(taken, getattr(new, name), getattr(old, name)) for name in names}


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
    image = fn(value)
    fz, z = lax.stop_gradient((image, value))
    size = measure(z, fz, unit_of(z, fz))
    norm = jnp.where(foretold, size.norm, carry.best_norm)
    scale = jnp.where(foretold, size.scale, carry.best_scale)
    kept = norm <= solver.atol + rtol * scale
    verdict = jnp.where(kept, Status.CONVERGED.value, Status.MISSED.value)
    return norm, scale, jnp.where(foretold, verdict, carry.status).astype(jnp.int32)
