"""Newton's method for z = f(z), globalised with one evaluation per step."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import dogleg, inner, products, trees
from deqzoo.core.linear_solver import LinearSolver
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State

_DECREASE = 1e-4  # share of the foretold decrease that a step must bring
_SHORTEST = 2.0**-20  # a shorter step is given up for a Picard step
_FORCING = 0.1  # first relative accuracy of a direction
_LOOSEST = 0.3
_ACCURATE = 1e-3  # along a curved valley a loose direction leads into its wall
_SAFETY = 0.9  # Eisenstat and Walker's gamma
_ENOUGH = 0.3  # a direction need not be better than this part of the tolerance
_USEFUL = 0.9  # a direction with a larger relative residual is none
_BENDS = 2.0**-9  # a shorter step leaves the direction for the dogleg
_GROWTH = 3.0  # a step is at most so many times as long as a shortened one before it
_LONGEST = 30.0  # a step is at most so many times as long as z and f(z) together


class _Memory(NamedTuple):
    """The last accepted point and the way from it that is being tried."""

    anchor: State
    direction: State
    descent: State  # the direction until the way from the anchor is bent
    bent: Bool[Array, " batch"]
    norm: Float[Array, " batch"]  # residual at the anchor; inf: whatever comes is accepted
    length: Float[Array, " batch"]
    spent: Int[Array, " batch"]  # products in the last step
    total: Int[Array, " batch"]  # and in all


@dataclass(frozen=True)
class Newton(Solver):
    """z_{k+1} = z_k + t d, (I - J) d = f(z_k) - z_k up to a relative residual, per example.

    A step is accepted if the residual fell; otherwise the example goes back to the last accepted
    point and takes a shorter step along the same direction, and where that gets very short along
    Powell's dogleg, which costs two products once. Where the linear solve fails or no step is short
    enough, it takes a Picard step, whatever comes of it. Directions are as accurate as the progress
    deserves (Eisenstat and Walker), or accurate after a shortened step; products count as steps.
    """

    chances: ClassVar[int] = 10

    @property
    @abc.abstractmethod
    def inner(self) -> LinearSolver:
        """What solves for the direction."""

    def init(self, fn: Map, z0: State) -> _Memory:
        """Nothing accepted yet."""
        zeros = jnp.zeros_like(trees.norm(z0))
        none = zeros.astype(jnp.int32)
        still = jax.tree.map(jnp.zeros_like, z0)
        bent = jnp.zeros_like(none, bool)
        return _Memory(z0, still, still, bent, zeros + jnp.inf, zeros + 1, none, none)

    def spent(self, memory: _Memory) -> Int[Array, " batch"]:
        """Products in the last step."""
        return memory.spent

    def step(self, evaluation: Evaluation, memory: _Memory) -> tuple[State, _Memory]:
        """Accept and turn to a new direction, or go back and shorten."""
        # Directions descend in the Euclidean norm, whatever the solver stops by.
        is_euclidean = self.norm == "euclidean"
        norm = evaluation.norm if is_euclidean else trees.norm(evaluation.residual)
        ratio = norm / memory.norm
        fell = (ratio <= 1 - _DECREASE * memory.length) | jnp.isinf(memory.norm)
        length = _shortened(memory.length, ratio)
        tired = ~fell & (length < _SHORTEST)
        first = ~fell & ~tired & ~memory.bent & (length < _BENDS)
        descent = self._descent(evaluation.fn, memory, first)
        found = self._direction(evaluation, memory, fell, ratio)
        sound = found.error <= _USEFUL
        picard = tired | (fell & ~sound)
        moves = fell | tired
        direction = trees.select(picard, evaluation.residual, _capped(found.value, evaluation))
        begun = jnp.where(picard, 1, _begun(memory, direction))
        spent = found.steps + jnp.where(first, dogleg.COST, 0)
        memory = _Memory(
            anchor=trees.select(moves, evaluation.z, memory.anchor),
            direction=trees.select(moves, direction, memory.direction),
            descent=trees.select(moves, direction, descent),
            bent=~moves & (memory.bent | first),
            norm=jnp.where(picard, jnp.inf, jnp.where(fell, norm, memory.norm)),
            length=jnp.where(moves, begun, length),
            spent=spent,
            total=memory.total + spent,
        )
        step = dogleg.step(memory.descent, memory.direction, memory.length)
        return trees.add(memory.anchor, step), memory

    @staticmethod
    def _descent(fn: Map, memory: _Memory, wanted: Bool[Array, " batch"]) -> State:
        """That of the examples whose way from the anchor is bent from now on."""
        found = lax.cond(
            jnp.any(wanted),
            lambda: dogleg.steepest(fn, memory.anchor, memory.direction),
            lambda: memory.descent,
        )
        return trees.select(wanted, found, memory.descent)

    def _direction(
        self, evaluation: Evaluation, memory: _Memory, wanted: Bool[Array, " batch"], ratio: Array
    ) -> inner.Inner:
        """The Newton step of the examples that want one; no products for the others."""
        norm = evaluation.norm
        forcing = jnp.where(jnp.isinf(memory.norm), _FORCING, _SAFETY * ratio * ratio)
        forcing = jnp.where(memory.length < 1, jnp.minimum(forcing, _ACCURATE), forcing)
        goal = jnp.minimum(forcing, _LOOSEST) * norm
        goal = jnp.maximum(goal, _ENOUGH * evaluation.tolerance)
        allowed = inner.allowance(self, evaluation, memory.total)
        product = products.forward(evaluation.fn, evaluation.z)
        return inner.solve(
            self.inner,
            product,
            evaluation.residual,
            jnp.where(wanted, goal, jnp.inf),
            jnp.where(wanted, allowed, 0),
        )


def _capped(direction: State, evaluation: Evaluation) -> State:
    """Where I - J is nearly singular a direction can be absurdly long."""
    z, fz, length = (trees.norm(x) for x in (evaluation.z, evaluation.fz, direction))
    longest = _LONGEST * (z + fz)
    factor = jnp.where(length > longest, longest / length, 1)
    return trees.scale(lax.stop_gradient(factor), direction)


def _begun(memory: _Memory, direction: State) -> Float[Array, " batch"]:
    """The part of a new direction to try first."""
    before, now = trees.norm(memory.direction), trees.norm(direction)
    reach = jnp.where(memory.length < 1, _GROWTH * memory.length * before, jnp.inf)
    return lax.stop_gradient(jnp.where(reach < now, reach / now, 1))


def _shortened(length: Array, ratio: Array) -> Array:
    """The minimiser of a parabola through ||g||^2 and its slope, within a tenth and a half."""
    best = length * length / (ratio * ratio - 1 + 2 * length)
    shortest, longest = 0.1 * length, 0.5 * length
    return lax.stop_gradient(
        jnp.where(jnp.isfinite(ratio), jnp.clip(best, shortest, longest), shortest)
    )
