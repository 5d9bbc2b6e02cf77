"""How large residual and value are, where squares underflow or overflow as well."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.trees import State

_Sizes = tuple[Float[Array, " batch"], Float[Array, " batch"]]


def measure(fn: Map, z: State, fz: State, norm: str) -> _Sizes:
    """||f(z) - z|| and ||f(z)||, right from the smallest numbers of the dtype to the largest.

    Of the two Euclidean norms the larger one tells whether its squares were within reach: the
    smaller one is then off by less than a rounding of the larger.

    Args:
        fn: f, which may know that its states are of about size one (``is_scaled``).
        z: the examples.
        fz: their images.
        norm: "euclidean" or "max".
    """
    z, fz = lax.stop_gradient((z, fz))
    if norm == "max":
        return trees.largest(trees.subtract(fz, z)), trees.largest(fz)
    ordinary = _norms(z, fz, None)
    if getattr(fn, "is_scaled", False):
        return ordinary
    places = jnp.finfo(ordinary[0].dtype).maxexp
    reach, unit = 2.0 ** (places // 3), 2.0 ** (places // 2 - 1)

    def is_beyond() -> Bool[Array, " batch"]:
        larger = jnp.maximum(*ordinary)
        return (larger < 1 / reach) | (larger > reach)

    def beyond() -> _Sizes:
        small = jnp.maximum(*ordinary) < 1
        squares = _norms(z, fz, jnp.where(small, unit**2, unit**-2))
        exact = tuple(size * jnp.where(small, 1 / unit, unit) for size in squares)
        return trees.select(is_beyond(), exact, ordinary)

    if jax.default_backend() != "cpu":  # where a branch waits for what decides it
        return beyond()
    return lax.cond(jnp.any(is_beyond()), beyond, lambda: ordinary)


def _norms(z: State, fz: State, factor: Float[Array, " batch"] | None) -> _Sizes:
    residual = trees.squared_norm(trees.subtract(fz, z), factor)
    return jnp.sqrt(residual), jnp.sqrt(trees.squared_norm(fz, factor))
