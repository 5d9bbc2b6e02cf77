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

_FEW = 1024  # numbers that are looked at twice sooner than a branch is taken


class Size(NamedTuple):
    """What an evaluation shows, per example.

    Attributes:
        norm: ||f(z) - z||_2.
        scale: ||f(z)||_2.
        unit: a power of two, in which squares are neither too small nor too large; 1 for ordinary
            numbers.
    """

    norm: Float[Array, " batch"]
    scale: Float[Array, " batch"]
    unit: Float[Array, " batch"]


def measure(z: State, fz: State, active: Bool[Array, " batch"]) -> Size:
    """The norms of active examples, right from the smallest numbers of the dtype to the largest.

    Of residual and value the larger one tells whether squares did: the smaller one is then off by
    less than a rounding of the larger. Where they did not, the batch is looked at twice. On a CPU
    that happens behind a branch; accelerators take longer for a branch than for two looks.
    """
    z, fz = lax.stop_gradient((z, fz))
    residual = lambda: trees.subtract(fz, z)  # noqa: E731
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(z))
    if jax.default_backend() != "cpu" or (isinstance(numbers, int) and numbers <= _FEW):
        return _in_units(residual(), fz)
    norm, scale = jnp.sqrt(trees.squared_norm(residual())), jnp.sqrt(trees.squared_norm(fz))
    larger = jnp.maximum(norm, scale)
    off = (larger < 2.0 ** (int(jnp.finfo(norm.dtype).minexp) // 4)) | jnp.isinf(larger)
    ordinary = Size(norm, scale, jnp.where(off, 1, jnp.ones_like(norm)))  # on the same devices
    return lax.cond(jnp.any(off & active), lambda: _in_units(residual(), fz), lambda: ordinary)


def _in_units(residual: State, fz: State) -> Size:
    unit = _grid(trees.magnitude((residual, fz)))
    return Size(trees.norm(residual, unit), trees.norm(fz, unit), unit)


def _grid(size: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The nearest of a few powers of two, so that it seldom changes from step to step."""
    step = int(jnp.finfo(size.dtype).maxexp) // 2 - 4
    unit = jnp.ones_like(size)
    for places in (step, 2 * step):
        unit = jnp.where(size >= 2.0 ** (places - step // 2), 2.0**places, unit)
        unit = jnp.where(size < 2.0 ** (step // 2 - places), 2.0**-places, unit)
    return unit
