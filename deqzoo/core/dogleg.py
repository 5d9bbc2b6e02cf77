"""The way from a point that a rejected Newton step is shortened along: Powell's dogleg."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import products, trees
from deqzoo.core.map.program import Map
from deqzoo.core.trees import State

COST = 3  # an evaluation and two products


def steepest(fn: Map, z: State, newton: State) -> State:
    """The minimiser of the linearised residual along its steepest descent.

    With r = f(z) - z it is t s, s = (I - J)ᵀ r, t = ||s||² / ||(I - J) s||². Where J has no
    transposed product (a ``while_loop``) the way is the Newton step alone.
    """
    product, residual = products.forward(fn, z), trees.subtract(fn(z), z)
    pull = products.transpose(product, z)
    if pull is None:
        return newton
    unit = trees.magnitude(lax.stop_gradient(residual))
    residual = trees.scale(1 / unit, residual)
    slope = trees.subtract(residual, pull(residual))
    size = trees.magnitude(lax.stop_gradient(slope))
    slope = trees.scale(1 / size, slope)
    pushed = trees.subtract(slope, product(slope))
    # How far along the slope of size one: <r, (I - J) s> = size ||s||².
    height, square = trees.squared_norm(slope), trees.squared_norm(pushed)
    length = lax.stop_gradient(jnp.where(square > 0, height / square, 0))
    return trees.scale(unit * size * length, slope)


def step(descent: State, newton: State, length: Float[Array, " batch"]) -> State:
    """The point of the way from 0 over ``descent`` to ``newton`` at this part of ||newton||_2."""
    first, last = trees.norm(descent), trees.norm(newton)
    radius = length * last
    within = (radius < first) & (length < 1)
    on_descent = jnp.where(first > 0, radius / first, 0)
    share = _share(descent, trees.subtract(newton, descent), radius)
    share = jnp.where(length < 1, share, 1)
    weight = lax.stop_gradient(jnp.where(within, on_descent, 1 - share))
    of_newton = lax.stop_gradient(jnp.where(within, 0, share))
    return trees.add(trees.scale(weight, descent), trees.scale(of_newton, newton))


def _share(descent: State, leg: State, radius: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The s >= 0 with ||descent + s leg||_2 = radius, within [0, 1]."""
    unit = jnp.where(radius > 0, radius, 1)
    a, b = (trees.ravel(trees.scale(1 / unit, x)) for x in (descent, leg))
    square, overlap = jnp.sum(b * b, axis=1), jnp.sum(a * b, axis=1)
    room = jnp.maximum(1 - jnp.sum(a * a, axis=1), 0)
    root = jnp.sqrt(overlap * overlap + square * room)
    # Of the two forms of the larger root the one without cancellation.
    share = jnp.where(overlap > 0, room / (overlap + root), (root - overlap) / square)
    return jnp.clip(jnp.where(jnp.isfinite(share), share, 1), 0, 1)
