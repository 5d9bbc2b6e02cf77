"""Gaussian means E f(u)² and E f(u)f(v), traceable, with panels that end at every kink.

The pair is written as u = s₁(αx + βy), v = ±s₂(αx - βy) with independent normal x, y. The kinks of
f then lie on straight lines: the inner integral over x is split where they cross it, the outer one
over y where two of them meet. Composite Gauss-Legendre keeps its digits at any correlation, ±1
included, where truncated Hermite series and Gauss-Hermite nodes lose theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from deqzoo.activation import gaussian

_LIMIT = 9.0  # beyond it the density has lost 1e-18 of its mass
_POLYNOMIAL_LIMIT = 13.0
_NODES = 20
_WIDEST = 1.5  # panel width at scale 1.5 and below; poles at distance 2/3 cost less than 1e-14

Function = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


def panels(largest: float) -> int:
    """How many panels functions of u need, E u² <= ``largest``; a multiple of 4."""
    finer = max(1.0, math.sqrt(largest) / 1.5)
    return 4 * math.ceil(2 * _LIMIT / _WIDEST * finer / 4)


def square_means(
    f: Function, variances: Float[Array, " n"], kinks: tuple[float, ...], count: int
) -> Float[Array, " n"]:
    """E f(√q Z)² for every variance q.

    Args:
        f: elementwise, smooth between its kinks.
        variances: q >= 0.
        kinks: where f is not smooth.
        count: panels, from ``panels``.
    """

    def one(q):
        z, weights = _split(_places(kinks, jnp.sqrt(q)), count, _LIMIT)
        return jnp.sum(weights * jnp.square(f(jnp.sqrt(q) * z)))

    return jax.vmap(one)(variances)


def split_nodes(kinks: tuple[float, ...], scale, count: int) -> tuple[Array, Array]:
    """Nodes z and weights with Σ w f(scale z) h(z) = E f(scale Z)h(Z) for a Hermite polynomial h.

    They reach to ±13: against a polynomial of high degree the density only gains e^(-z²/4).
    """
    return _split(_places(kinks, scale), 2 * count, _POLYNOMIAL_LIMIT)


def product_means(
    f: Function,
    c: Float[Array, " n"],
    q1: Float[Array, " n"],
    q2: Float[Array, " n"],
    kinks: tuple[float, ...],
    count: int,
) -> Float[Array, " n"]:
    """E f(u)f(v), (u, v) ~ N(0, [[q1, c], [c, q2]]), for every triple.

    Args:
        f: elementwise, smooth between its kinks.
        c: covariances, c² <= q1 q2.
        q1: variances of u.
        q2: variances of v.
        kinks: where f is not smooth.
        count: panels, from ``panels``.
    """
    return lax.map(lambda triple: _product_mean(f, triple, kinks, count), (c, q1, q2))


def _product_mean(
    f: Function, triple: tuple[Array, Array, Array], kinks: tuple[float, ...], count: int
) -> Float[Array, ""]:
    c, q1, q2 = triple
    s1, s2 = jnp.sqrt(q1), jnp.sqrt(q2)
    size = s1 * s2
    sign = jnp.where(c < 0, -1.0, 1.0)
    gap = (size - sign * c) / jnp.where(size > 0, size, 1)
    gap = jnp.where(gap < 4 * jnp.finfo(gap.dtype).eps, 0, gap)  # rounding of c at ρ = ±1
    alpha, beta = jnp.sqrt(1 - gap / 2), jnp.sqrt(gap / 2)
    first, second = _places(kinks, s1), sign * _places(kinks, s2)
    meetings = (first[:, None] - second[None, :]).ravel() / (2 * beta)
    y, outer = _split(jnp.where(jnp.isfinite(meetings), meetings, 0.0), count, _LIMIT)

    def inner(y):
        crossings = jnp.concatenate([first - beta * y, second + beta * y]) / alpha
        x, weights = _split(crossings, count, _LIMIT)
        u, v = s1 * (alpha * x + beta * y), sign * s2 * (alpha * x - beta * y)
        return jnp.sum(weights * f(u) * f(v))

    return outer @ jax.vmap(inner)(y)


def _places(kinks: tuple[float, ...], scale) -> Float[Array, " k"]:
    """Where z with ``scale * z`` at a kink lies; far away where the scale is zero."""
    places = jnp.asarray(kinks, jnp.result_type(float)) / scale
    return jnp.clip(jnp.where(jnp.isnan(places), 0.0, places), -2 * _LIMIT, 2 * _LIMIT)


def _split(cuts: Float[Array, " k"], count: int, limit: float) -> tuple[Array, Array]:
    """Nodes, and weights with the normal density in them, of panels that end at the cuts."""
    edges = jnp.linspace(-limit, limit, count + 1)
    edges = jnp.sort(jnp.concatenate([edges, jnp.clip(cuts, -limit, limit)]))
    points, weights = gaussian.legendre(_NODES)
    half = jnp.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + np.asarray(points))[None]).ravel()
    density = jnp.exp(-jnp.square(z) / 2) / math.sqrt(2 * math.pi)
    return z, (half * np.asarray(weights)[None]).ravel() * density
