"""Weighted sums of the absolute entries of rows: norms of matrices that are proved by adding."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import trees

_STEPS = 32  # of the power iteration
_LEAST = 1e-3  # the smallest entry of a Perron vector, of the largest one


def perron_vector(weight: Float[Array, "n n"]) -> Float[Array, " n"]:
    """A v > 0 near the eigenvector of |W| that belongs to its spectral radius.

    Entries below a thousandth of the largest are set there: v only chooses a norm.
    """
    size = jnp.abs(weight.astype(trees.reduction_dtype(weight)))

    def step(_: Array, v: Array) -> Array:
        # Half of the old one: |W| may go round in circles.
        image = jnp.matmul(size, v, precision="highest")
        image = v + image / jnp.maximum(jnp.max(image), jnp.finfo(v.dtype).tiny)
        return jnp.maximum(image / jnp.max(image), _LEAST)

    return lax.fori_loop(0, _STEPS, step, jnp.ones(weight.shape[0], size.dtype))


def largest_sum(weight: Float[Array, "n n"], v: Float[Array, " n"]) -> Float[Array, ""]:
    """Max_i Σ_j |W_ij| v_j/v_i from above: ‖W‖ in the maximum norm of x_i/v_i, and >= ρ(|W|).

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.row_sums import largest_sum
        >>> W = jnp.array([[0.0, 4.0], [0.25, 0.0]])  # ρ(|W|) = 1
        >>> largest_sum(W, jnp.ones(2)) > 4, largest_sum(W, jnp.array([4.0, 1.0])) < 1.0001
        (Array(True, dtype=bool), Array(True, dtype=bool))
    """
    size = jnp.abs(weight.astype(v.dtype))
    sums = jnp.matmul(size, v, precision="highest") / v
    return jnp.max(sums) * (1 + _rounding(v))


def project_rows(
    weight: Float[Array, "n n"], v: Float[Array, " n"], limit: float | Float[Array, ""]
) -> Float[Array, "n n"]:
    """The nearest matrix with ``largest_sum(W, v) <= limit``: every row by itself.

    A row w goes to sign(w_j) max(|w_j| - τ v_j, 0), τ >= 0 the least that meets its limit.

    References:
        Duchi, Shalev-Shwartz, Singer and Chandra, "Efficient projections onto the l1-ball for
        learning in high dimensions", ICML 2008, has v = 1.
    """
    wide = weight.astype(v.dtype)
    size, aim = jnp.abs(wide), limit * v * (1 - 4 * _rounding(v))
    order = jnp.argsort(-size / v[None], axis=1)
    sizes, weights = jnp.take_along_axis(size, order, axis=1), v[order]
    excess = jnp.cumsum(sizes * weights, axis=1) - aim[:, None]
    candidates = excess / jnp.cumsum(weights**2, axis=1)
    stays = sizes > candidates * weights
    last = jnp.maximum(jnp.sum(stays, axis=1, keepdims=True) - 1, 0)
    threshold = jnp.maximum(jnp.take_along_axis(candidates, last, axis=1), 0)
    projected = jnp.sign(wide) * jnp.maximum(size - threshold * v[None], 0)
    return shrink_rows(projected, v, limit).astype(weight.dtype)


def shrink_rows(
    weight: Float[Array, "n n"], v: Float[Array, " n"], limit: float | Float[Array, ""]
) -> Float[Array, "n n"]:
    """Rows whose sum exceeds the limit are scaled down to it."""
    wide = weight.astype(v.dtype)
    sums = jnp.matmul(jnp.abs(wide), v, precision="highest") / v
    aim = limit * (1 - 4 * _rounding(v))
    factor = jnp.where(sums > aim, aim / jnp.where(sums > 0, sums, 1), 1)
    return (wide * factor[:, None]).astype(weight.dtype)


def _rounding(v: Float[Array, " n"]) -> float:
    """The share by which a sum of terms of one sign errs, a division included."""
    return (v.shape[0] + 4) * float(jnp.finfo(v.dtype).eps)
