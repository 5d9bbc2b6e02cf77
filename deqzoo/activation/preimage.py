"""The point at which an activation takes the value that a proximal step asks of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROUNDS = 200  # brackets shrink by half at least; Newton's method takes about five rounds
_ROUNDING = 4.0  # units in which the left side is known
Formula = Callable[[Array, Any], Array]


class Point(NamedTuple):
    """An argument of φ and what φ is there.

    Attributes:
        s: the argument.
        value: φ(s).
        slope: φ'(s).
    """

    s: Float[Array, "*shape"]
    value: Float[Array, "*shape"]
    slope: Float[Array, "*shape"]


def point(formula: Formula, s: Float[Array, "*shape"], parameters: Any) -> Point:
    """Evaluate φ and φ' at s."""
    return Point(s, *jax.jvp(lambda s: formula(s, parameters), (s,), (jnp.ones_like(s),)))


def middle(
    formula: Formula,
    slope: tuple[float, float],
    u: Float[Array, "*shape"],
    step_size: Float[Array, "*shape"],
    parameters: Any,
) -> Point:
    """A start for ``preimage``: the middle of a bracket, made of bounds of φ' and φ(u)."""
    left, right = _bracket(slope, u, formula(u, parameters), u, step_size)
    return point(formula, left + (right - left) / 2, parameters)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def preimage(
    formula: Formula,
    slope: tuple[float, float],
    share: float,
    u: Float[Array, "*shape"],
    step_size: Float[Array, "*shape"],
    parameters: Any,
    near: Point,
) -> Point:
    """The s with (1 - α)φ(s) + αs = u, for every entry by itself.

    Newton's method, kept in a bracket: for slopes in [0, 1] the left side rises with a slope
    between 1 and α. Differentiable in u, α and the parameters, as if s were exact; of what it
    returns s and value are.

    Args:
        formula: (x, parameters) -> φ(x), elementwise; it captures no traced array.
        slope: bounds of φ', in [0, 1].
        share: of the largest error that an example (along the first axis) begins with, what may
            remain; 0 for none but rounding.
        u: any shape.
        step_size: α > 0.
        parameters: a pytree of arrays, empty where φ has none.
        near: where to begin, with φ and φ' there: of an end that is near nothing else is
            evaluated but φ and φ' at that end.
    """
    excess = _excess(u, step_size, near)
    goal = share * jnp.max(jnp.abs(excess), axis=range(1, u.ndim), keepdims=True) if share else 0
    is_rough = functools.partial(_is_rough, u, step_size, goal)
    moves = jnp.isfinite(u) & is_rough(near)
    step = jnp.where(moves, excess / _steepness(step_size, near), 0)
    at = point(formula, near.s + step, parameters)  # a step of Newton's leaves no bracket
    moves &= is_rough(at)

    def unfinished(state):
        *_, moves, round_number = state
        return jnp.any(moves) & (round_number < _ROUNDS)

    def refine(state):
        at, left, right, last, moves, round_number = state
        excess = _excess(u, step_size, at)
        left, right = jnp.where(excess > 0, at.s, left), jnp.where(excess < 0, at.s, right)
        newton = at.s + excess / _steepness(step_size, at)
        fast = (newton >= left) & (newton <= right) & (jnp.abs(excess) <= last / 2)
        last = jnp.where(fast, jnp.abs(excess), jnp.inf)  # a halved bracket is begun afresh
        following = jnp.where(fast, newton, left + (right - left) / 2)
        following = jnp.where(moves, following, at.s)
        moves &= following != at.s
        at = point(formula, following, parameters)
        return at, left, right, last, moves & is_rough(at), round_number + 1

    def finish():
        bracket = _bracket(slope, near.s, near.value, u, step_size)
        start = at, *bracket, jnp.abs(excess), moves, jnp.ones((), jnp.int32)
        return jax.lax.while_loop(unfinished, refine, start)[0]

    return jax.lax.cond(jnp.any(moves), finish, lambda: at)


def _is_rough(u: Array, step_size: Array, goal: Array | int, at: Point) -> Array:
    """Where more than the goal and rounding is lacking."""
    size = jnp.abs(u) + jnp.abs((1 - step_size) * at.value) + step_size * jnp.abs(at.s)
    rounding = _ROUNDING * jnp.finfo(u.dtype).eps * size
    return jnp.abs(_excess(u, step_size, at)) > jnp.maximum(goal, rounding)


def _excess(u: Array, step_size: Array, at: Point) -> Array:
    """What the left side lacks."""
    return u - ((1 - step_size) * at.value + step_size * at.s)


def _steepness(step_size: Array, at: Point) -> Array:
    """The derivative of the left side."""
    return (1 - step_size) * at.slope + step_size


def _bracket(
    slope: tuple[float, float], s: Array, value: Array, u: Array, step_size: Array
) -> tuple[Array, Array]:
    """Where the solution lies as φ(s) is known and the left side rises within bounds."""
    excess = u - ((1 - step_size) * value + step_size * s)
    ends = [s + excess / (step_size + (1 - step_size) * bound) for bound in slope]
    left, right = jnp.minimum(*ends), jnp.maximum(*ends)
    margin = _ROUNDING * jnp.finfo(u.dtype).eps * jnp.maximum(jnp.abs(left), jnp.abs(right))
    return left - margin, right + margin


@preimage.defjvp
def _preimage_jvp(formula, slope, share, primals, tangents):
    u, step_size, parameters, near = primals
    du, *rest, _ = tangents
    found = preimage(formula, slope, share, u, step_size, parameters, near)
    value, steepness = jax.jvp(lambda s: formula(s, parameters), (found.s,), (jnp.ones_like(u),))
    at = Point(found.s, value, steepness)

    def mix(step_size, parameters):
        return (1 - step_size) * formula(found.s, parameters) + step_size * found.s

    _, moved = jax.jvp(mix, (step_size, parameters), tuple(rest))
    ds = (du - moved) / _steepness(step_size, at)
    _, dvalue = jax.jvp(formula, (found.s, parameters), (ds, rest[1]))
    return found, Point(ds, dvalue, jnp.zeros_like(found.slope))
