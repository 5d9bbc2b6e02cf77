"""Stages in turn, and back to the first where a later one may have left its limit."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from deqzoo.core import trees
from deqzoo.core.solution import Status
from deqzoo.core.stage import Goal, Stage, enter, is_left, settle, vary
from deqzoo.core.stopping import FORETOLD, HANDED, RUNNING, Progress
from deqzoo.core.trees import State


class _Turn(NamedTuple):
    """A turn through the stages that is to come, and what came of the one before.

    Attributes:
        carry: where the first stage goes on.
        kept: what was found; before the first turn, from where that begins.
        far: how far the carry is from there; 0 if it is nothing to be drawn to.
        returns: the examples that take the turn.
        is_first: whether the first stage may hand over.
    """

    carry: Progress
    kept: Progress
    far: Float[Array, " batch"]
    returns: Bool[Array, " batch"]
    is_first: Bool[Array, ""]


def take(
    stages: list[Stage], iterate: Any, carry: Progress, start: State, *, differentiable: bool
) -> Progress:
    """One turn, and a second one for who returns: one loop, so that a stage is compiled once.

    Args:
        stages: the first one hands over to the others.
        iterate: ``stage.iterate`` of a stage, its carry and its origin.
        carry: where the first stage begins.
        start: its origin.
        differentiable: whether reverse mode is to pass through.

    Returns:
        What was found, settled.
    """
    first, *later = stages
    turn = functools.partial(_turn, first, later, iterate)
    yes = vary(jnp.ones((), bool), carry.norm)
    everybody = jnp.ones_like(carry.status, bool)
    begun = settle(carry)._replace(z=start)
    state = _Turn(carry, begun, jnp.zeros_like(carry.norm), everybody, yes)
    if differentiable:
        once = lambda state, _: (lax.cond(jnp.any(state.returns), turn, lambda s: s, state), None)  # noqa: E731
        return lax.scan(once, state, length=2)[0].kept
    return lax.while_loop(lambda state: jnp.any(state.returns), turn, state).kept


def _turn(stage: Stage, later: list[Stage], iterate: Any, turn: _Turn) -> _Turn:
    """Take the stages; who returns takes plain steps again from where they were left.

    A rule that minimises residuals finds equilibria that repel as well, near which plain steps make
    a residual grow. Where one did, or nothing was found, an example goes on from where it was
    handed over, until it is drawn to what was found or has another limit, which then is the result.
    """
    # What returns is taken where it has arrived: its last iterate is its best.
    replays = stage.replays and turn.is_first
    goal = Goal(turn.kept.z, turn.far)
    here = stage._replace(hands_over=turn.is_first, replays=replays, goal=goal)
    left = settle(iterate(here, turn.carry, turn.kept.z))
    ended = (left.status == Status.CONVERGED) | (left.status == FORETOLD)
    carry = left._replace(**_chosen(turn.is_first | (turn.returns & ended), left, turn.kept))
    for each in later:
        # Where nobody comes this far, the memory of the rule is not even touched.
        carry = lax.cond(
            jnp.any(is_left(carry)),
            lambda carry, each=each: _doubted(each, iterate(each, enter(each, carry), carry.z)),
            lambda carry: carry,
            carry,
        )
    found = carry.status == Status.CONVERGED
    returns = turn.is_first & (left.status == HANDED) & ((carry.rose > 0) | ~found)
    returns &= carry.steps < stage.solver.max_steps
    returns &= stage.solver.is_monotone
    far = jnp.where(found, trees.largest(trees.subtract(left.z, carry.z)), 0)
    again = _back(enter(stage, carry), left, returns)
    return _Turn(again, carry, far, returns, jnp.zeros_like(turn.is_first))


def _back(entered: Progress, left: Progress, returns: Bool[Array, " batch"]) -> Progress:
    """Where the first stage was left, with the steps of all stages. What stays counts no more."""
    return entered._replace(
        z=left.z,
        best_norm=jnp.full_like(left.best_norm, jnp.inf),
        best_step=jnp.zeros_like(left.best_step),
        rose=jnp.zeros_like(left.rose),
        status=jnp.where(returns, RUNNING, entered.status),
    )


def _doubted(stage: Stage, carry: Progress) -> Progress:
    """End a later stage, where its rule saw whether plain steps lead away from what it found."""
    grew = stage.solver.grew(carry.memory)
    return settle(carry)._replace(rose=jnp.where(grew, 1, carry.rose))


def _chosen(taken: Bool[Array, " batch"], new: Progress, old: Progress) -> dict[str, Any]:
    """What belongs to the better of two results."""
    names = ("z", "best_norm", "best_scale", "rate", "status")
    return {name: trees.select(taken, getattr(new, name), getattr(old, name)) for name in names}
