"""Gaussian means E f(u)² and E f(u)f(v), traceable, with panels that end where they are told to.

The pair is written as u = s₁(αx + βy), v = ±s₂(αx - βy) with independent normal x, y. The kinks of
f then lie on straight lines: the inner integral over x is split where they cross it, the outer one
over y where two of them meet. Composite Gauss-Legendre keeps its digits at any correlation, ±1
included, where truncated Hermite series and Gauss-Hermite nodes lose theirs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from deqzoo.activation import gaussian
from deqzoo.activation.panels import NODES, UNIFORM

_LIMIT = 9.0  # beyond it the density has lost 1e-18 of its mass
_POLYNOMIAL_LIMIT = 13.0
_PANELS = round(2 * _LIMIT / UNIFORM)
_LINE_NODES = 40
_BATCH = 256  # variances at a time, so that memory does not grow with their number

Places = Float[Array | np.ndarray, " places"] | tuple[float, ...]
Function = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


def square_means(
    f: Function, variances: Float[Array, " n"], cuts: Places, finer: int = 1
) -> Float[Array, " n"]:
    """E f(√q Z)² for every variance q.

    Args:
        f: elementwise, smooth between the cuts.
        variances: q >= 0.
        cuts: where panels must end: kinks, and the edges of ``panels.edges``.
        finer: how often the uniform panels are divided.
    """

    def one(q):
        z, weights = _split(_places(cuts, jnp.sqrt(q)), finer * _PANELS, _LIMIT)
        return jnp.sum(weights * jnp.square(f(jnp.sqrt(q) * z)))

    return lax.map(one, variances, batch_size=_BATCH)


def split_nodes(cuts: Places, scale) -> tuple[Array, Array]:
    """Nodes z and weights with Σ w f(scale z) h(z) = E f(scale Z)h(Z) for a Hermite polynomial h.

    They reach to ±13: against a polynomial of high degree the density only gains e^(-z²/4).
    """
    return _split(_places(cuts, scale), 2 * _PANELS, _POLYNOMIAL_LIMIT)


def from_zero(f: Function, x: Float[Array, "*shape"], stops: Places) -> Float[Array, "*shape"]:
    """∫₀ˣ f, by 40 Gauss-Legendre nodes on every panel between 0 and x.

    Args:
        f: elementwise, smooth between the stops.
        x: any shape.
        stops: where panels must end.
    """
    points, weights = gaussian.legendre(_LINE_NODES)
    shares = list(zip(((1 + points) / 2).tolist(), (weights / 2).tolist(), strict=True))

    def add(total, panel):
        start, end = panel
        length = jnp.clip(x, jnp.minimum(start, end), jnp.maximum(start, end)) - start
        terms = (weight * f(start + share * length) for share, weight in shares)
        return total + length * functools.reduce(jnp.add, terms), None

    panels = jnp.asarray(_from_zero(np.asarray(stops, float)), x.dtype)
    return lax.scan(add, jnp.zeros_like(x), panels)[0]


def _from_zero(stops: np.ndarray) -> Float[np.ndarray, "panels 2"]:
    """(start, end) of the panels on both sides of 0, starts the nearer ends."""
    rows = []
    for sign in (1, -1):
        ends = np.concatenate([[0.0], np.unique(np.abs(stops[sign * stops > 0])), [math.inf]])
        rows += [sign * np.stack([ends[:-1], ends[1:]], axis=1)]
    return np.concatenate(rows)


def product_means(
    f: Function,
    c: Float[Array, " n"],
    q1: Float[Array, " n"],
    q2: Float[Array, " n"],
    kinks: tuple[float, ...],
    edges: Places = (),
) -> Float[Array, " n"]:
    """E f(u)f(v), (u, v) ~ N(0, [[q1, c], [c, q2]]), for every triple.

    Args:
        f: elementwise, smooth between its kinks.
        c: covariances, c² <= q1 q2.
        q1: variances of u.
        q2: variances of v.
        kinks: where f is not smooth.
        edges: where panels must end besides, of ``panels.edges``.
    """
    return lax.map(lambda triple: _product_mean(f, triple, kinks, edges), (c, q1, q2))


def _product_mean(
    f: Function, triple: tuple[Array, Array, Array], kinks: tuple[float, ...], edges: Places
) -> Float[Array, ""]:
    c, q1, q2 = triple
    s1, s2 = jnp.sqrt(q1), jnp.sqrt(q2)
    size = s1 * s2
    sign = jnp.where(c < 0, -1.0, 1.0)
    gap = (size - sign * c) / jnp.where(size > 0, size, 1)
    gap = jnp.where(gap < 4 * jnp.finfo(gap.dtype).eps, 0, gap)  # rounding of c at ρ = ±1
    alpha, beta = jnp.sqrt(1 - gap / 2), jnp.sqrt(gap / 2)
    cuts = jnp.concatenate([jnp.asarray(kinks, float), jnp.asarray(edges, float)])
    first, second = _places(cuts, s1), sign * _places(cuts, s2)
    count = len(kinks)
    meetings = (first[:count, None] - second[None, :count]).ravel()
    flanks = _places(edges, jnp.maximum(s1, s2))  # where the bends of u and of v pass each other
    y, outer = _split(_finite(jnp.concatenate([meetings, flanks]) / (2 * beta)), _PANELS, _LIMIT)

    def inner(y):
        crossings = jnp.concatenate([first - beta * y, second + beta * y]) / alpha
        x, weights = _split(crossings, _PANELS, _LIMIT)
        u, v = s1 * (alpha * x + beta * y), sign * s2 * (alpha * x - beta * y)
        return jnp.sum(weights * f(u) * f(v))

    return outer @ lax.map(inner, y, batch_size=_BATCH)


def _finite(places: Float[Array, " k"]) -> Float[Array, " k"]:
    return jnp.where(jnp.isfinite(places), places, 0.0)


def _places(cuts: Places, scale) -> Float[Array, " k"]:
    """Where z with ``scale * z`` at a cut lies; far away where the scale is zero."""
    places = jnp.asarray(cuts, jnp.result_type(float)) / scale
    return jnp.clip(jnp.where(jnp.isnan(places), 0.0, places), -2 * _LIMIT, 2 * _LIMIT)


def _split(cuts: Float[Array, " k"], count: int, limit: float) -> tuple[Array, Array]:
    """Nodes, and weights with the normal density in them, of panels that end at the cuts."""
    edges = jnp.linspace(-limit, limit, count + 1)
    edges = jnp.sort(jnp.concatenate([edges, jnp.clip(cuts, -limit, limit)]))
    points, weights = gaussian.legendre(NODES)
    half = jnp.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + np.asarray(points))[None]).ravel()
    density = jnp.exp(-jnp.square(z) / 2) / math.sqrt(2 * math.pi)
    return z, (half * np.asarray(weights)[None]).ravel() * density
