"""How large residual and value are, where squares underflow or overflow as well."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from deqzoo.core import trees
from deqzoo.core.trees import State

_BELOW = 10  # binary places a size may lie below the reach of its unit
_FEW = 1024  # numbers that are multiplied by their unit sooner than a branch is taken


class Size(NamedTuple):
    """What an evaluation shows, per example.

    Attributes:
        norm: ||f(z) - z||_2.
        scale: ||f(z)||_2.
        seen: false where both were too small or too large for the unit that squares were taken in:
            norm and scale mean nothing then.
        unit: for the next evaluation.
    """

    norm: Float[Array, " batch"]
    scale: Float[Array, " batch"]
    seen: Bool[Array, " batch"]
    unit: Float[Array, " batch"]


def unit_of(z: State, fz: State) -> Float[Array, " batch"]:
    """The unit in which an example is measured that nothing is known of, 1 for ordinary numbers."""
    z, fz = lax.stop_gradient((z, fz))
    return _grid(trees.largest((trees.subtract(fz, z), fz)))


def measure(z: State, fz: State, unit: Float[Array, " batch"]) -> Size:
    """The norms, right from the smallest numbers of the dtype to the largest.

    Of residual and value the larger one tells whether its unit did: the smaller one is then off by
    less than a rounding of the larger. From one evaluation to the next they seldom change so much
    that the unit of the one is none for the other.
    """
    norm, scale = _in_units(*lax.stop_gradient((z, fz)), unit)
    larger, step = jnp.maximum(norm, scale), _places(unit)
    reach = 2.0 ** (step // 2)
    factor = jnp.where(larger < 1 / reach, 2.0**-step, jnp.where(larger >= reach, 2.0**step, 1))
    following = jnp.clip(factor * unit, 2.0 ** (-2 * step), 2.0 ** (2 * step))
    seen = (following == unit) | ((larger >= 2.0**-_BELOW / reach) & (larger < jnp.inf))
    return Size(unit * norm, unit * scale, seen, following)


def _in_units(z: State, fz: State, unit: Float[Array, " batch"]) -> tuple[Array, Array]:
    """The norms over their unit; on a CPU that doubles their cost and is left out where it is 1."""

    def scaled():
        return trees.in_unit(trees.subtract(fz, z), unit), trees.in_unit(fz, unit)

    def plain():
        squares = trees.squared_norm(trees.subtract(fz, z)), trees.squared_norm(fz)
        return jnp.sqrt(squares[0]), jnp.sqrt(squares[1])

    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(z))
    if jax.default_backend() != "cpu" or (isinstance(numbers, int) and numbers <= _FEW):
        return scaled()
    return lax.cond(jnp.any(unit != 1), scaled, plain)


def _grid(size: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The nearest of a few powers of two, so that it seldom changes from step to step."""
    step = _places(size)
    unit = jnp.ones_like(size)
    for places in (step, 2 * step):
        unit = jnp.where(size >= 2.0 ** (places - step // 2), 2.0**places, unit)
        unit = jnp.where(size < 2.0 ** (step // 2 - places), 2.0**-places, unit)
    return unit


def _places(size: Float[Array, " batch"]) -> int:
    """Binary places between two units: squares reach a little further on either side."""
    return int(jnp.finfo(size.dtype).maxexp) // 2 - 4
