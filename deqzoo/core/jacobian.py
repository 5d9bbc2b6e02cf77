"""What the Jacobian of a map is like at a state, from products alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.trees import State


def squared_norm(fn: Map, z: State, key: Array, samples: int = 1) -> Float[Array, " batch"]:
    """An unbiased estimate of ||J||_F^2 per example, J = dfn/dz: the mean of ||J^T v||_2^2.

    The entries of v are random signs (Hutchinson). Differentiable.

    Args:
        fn: the map; keeps examples apart.
        z: where.
        key: a JAX key.
        samples: draws of v; the variance falls like 1/samples.

    References:
        Bai, Koltun and Kolter, "Stabilizing Equilibrium Models by Jacobian Regularization", arXiv
        2106.14342.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from deqzoo.core.jacobian import squared_norm
        >>> float(squared_norm(lambda z: 2 * z, jnp.ones((1, 3)), jax.random.key(0))[0])
        12.0
    """
    _, transposed = jax.vjp(fn, z)

    def one(key):
        return trees.squared_norm(transposed(_signs(key, z))[0])

    return jnp.mean(jax.vmap(one)(jax.random.split(key, samples)), axis=0)


def spectral_radius(fn: Map, z: State, key: Array, steps: int = 30) -> Float[Array, " batch"]:
    """An estimate of the largest |eigenvalue| of J per example.

    After ``steps`` power steps the direction w lies in the span of the leading eigenvectors, be it
    one real eigenvalue, a pair of opposite sign or a complex pair: then J^2 w = a J w + b w, and
    the roots of t^2 = a t + b are these eigenvalues. (A Rayleigh quotient sees only the real part.)
    Where the eigenvalues fill a disc, as those of a random matrix do, no few of them lead the rest,
    and some tens of steps give a fifth to a half less. Differentiable through all steps, whose
    directions are kept for it.

    Args:
        fn: the map; keeps examples apart.
        z: where.
        key: a JAX key.
        steps: power steps; the error falls with the ratio of the third to the second largest
            |eigenvalue| to this power.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from deqzoo.core.jacobian import spectral_radius
        >>> turn = jnp.array([[0.0, -0.5], [0.5, 0.0]])
        >>> radius = spectral_radius(lambda z: z @ turn, jnp.ones((1, 2)), jax.random.key(0))
        >>> round(float(radius[0]), 4)
        0.5
    """
    _, product = jax.linearize(fn, z)
    start = _normalized(_signs(key, z))
    w, _ = lax.scan(lambda w, _: (_normalized(product(w)), None), start, length=steps)
    first = product(w)
    second = product(first)
    size = trees.magnitude(first)  # of J: neither its square nor a product of two underflows
    w, first, second = (trees.ravel(state) for state in (w, first, second))
    rows = size[:, None]
    return size * _largest_root(w, first / rows, second / rows / rows)


def _largest_root(
    w: Float[Array, "batch size"],
    first: Float[Array, "batch size"],
    second: Float[Array, "batch size"],
) -> Float[Array, " batch"]:
    """|t| of the larger root of t^2 = a t + b, with (a, b) the least-squares fit of the second.

    The fit runs in the orthonormal basis (w, q): J w = h w + s q.
    """
    h = _dot(w, first)
    rest = first - h[:, None] * w
    s = _length(rest)
    one_dimensional = s <= 1e-4 * jnp.maximum(jnp.abs(h), jnp.finfo(s.dtype).tiny)
    s = jnp.where(one_dimensional, 1, s)
    # J^2 w = J(h w + s q), so that J q = (J^2 w - h J w) / s.
    image = (second - h[:, None] * first) / s[:, None]
    q = rest / s[:, None]
    trace = h + _dot(q, image)
    determinant = h * _dot(q, image) - s * _dot(w, image)
    discriminant = trace**2 / 4 - determinant
    real = jnp.abs(trace) / 2 + jnp.sqrt(jnp.where(discriminant > 0, discriminant, 0))
    complex_ = jnp.sqrt(jnp.where(discriminant > 0, 1, jnp.abs(determinant)))
    pair = jnp.where(discriminant > 0, real, complex_)
    return jnp.where(one_dimensional, jnp.abs(h), pair)


def _signs(key: Array, like: State) -> State:
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    draw = [
        jax.random.rademacher(k, leaf.shape, leaf.dtype)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return structure.unflatten(draw)


def _normalized(state: State) -> State:
    state = trees.scale(1 / trees.magnitude(state), state)  # no square of it underflows
    square = trees.squared_norm(state)
    return trees.scale(lax.rsqrt(jnp.where(square > 0, square, 1)), state)


def _dot(a: Float[Array, "batch size"], b: Float[Array, "batch size"]) -> Float[Array, " batch"]:
    return jnp.sum(a * b, axis=1)


def _length(rows: Float[Array, "batch size"]) -> Float[Array, " batch"]:
    square = _dot(rows, rows)
    return jnp.sqrt(jnp.where(square > 0, square, 0)) * (square > 0)
