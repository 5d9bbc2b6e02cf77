"""The point at which an activation takes the value that a proximal step asks of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROUNDS = 200  # brackets shrink by half at least; Newton's method takes about five rounds


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def preimage(
    formula: Callable[[Array, Any], Array],
    slope: tuple[float, float],
    u: Float[Array, "*shape"],
    step_size: Float[Array, "*shape"],
    parameters: Any,
) -> Float[Array, "*shape"]:
    """The s with (1 - α)φ(s) + αs = u, for every entry by itself.

    Newton's method, kept in a bracket: for slopes in [0, 1] the left side rises with a slope
    between 1 and α. Differentiable in u, α and the parameters.

    Args:
        formula: (x, parameters) -> φ(x), elementwise; it captures no traced array.
        slope: bounds of φ', in [0, 1].
        u: any shape.
        step_size: α > 0.
        parameters: a pytree of arrays, empty where φ has none.
    """
    low, high = slope
    slopes = step_size + (1 - step_size) * low, step_size + (1 - step_size) * high
    excess = u - _mix(formula, u, step_size, parameters)
    ends = u + excess / slopes[0], u + excess / slopes[1]
    eps = jnp.finfo(u.dtype).eps

    def unfinished(state):
        *_, moves, round_number = state
        return jnp.any(moves) & (round_number < _ROUNDS)

    def refine(state):
        s, left, right, moves, round_number = state
        value, steepness = _with_slope(formula, s, step_size, parameters)
        left, right = jnp.where(value < u, s, left), jnp.where(value > u, s, right)
        newton = s + (u - value) / steepness
        inside = (newton > left) & (newton < right) & (round_number % 8 < 7)
        following = jnp.where(inside, newton, left + (right - left) / 2)
        following = jnp.where(moves & (value != u), following, s)
        moves &= jnp.abs(following - s) > eps * jnp.abs(s)
        return following, left, right, moves, round_number + 1

    left, right = jnp.minimum(*ends), jnp.maximum(*ends)
    start = (left + (right - left) / 2, left, right, jnp.isfinite(u), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, refine, start)[0]


def _mix(formula: Any, s: Array, step_size: Array, parameters: Any) -> Array:
    return (1 - step_size) * formula(s, parameters) + step_size * s


def _with_slope(formula: Any, s: Array, step_size: Array, parameters: Any) -> tuple[Array, Array]:
    """The left side, and its derivative."""
    mix = lambda s: _mix(formula, s, step_size, parameters)  # noqa: E731
    return jax.jvp(mix, (s,), (jnp.ones_like(s),))


@preimage.defjvp
def _preimage_jvp(formula, slope, primals, tangents):
    u, *rest = primals
    s = preimage(formula, slope, u, *rest)
    _, steepness = _with_slope(formula, s, *rest)
    _, moved = jax.jvp(lambda *rest: _mix(formula, s, *rest), tuple(rest), tuple(tangents[1:]))
    return s, (tangents[0] - moved) / steepness
