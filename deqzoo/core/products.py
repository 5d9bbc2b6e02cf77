"""Products with a Jacobian and its transpose, of maps too that JAX differentiates one way only."""

from __future__ import annotations

import jax

from deqzoo.core.map.program import Map
from deqzoo.core.trees import State


def forward(fn: Map, z: State) -> Map:
    """U -> Ju, with J = dfn/dz.

    A ``custom_vjp`` has a rule for the transpose alone, which is then transposed.

    Raises:
        ValueError: that rule cannot be transposed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from deqzoo.core import products
        >>> @jax.custom_vjp
        ... def double(z):
        ...     return 2 * z
        >>> double.defvjp(lambda z: (2 * z, None), lambda _, u: (2 * u,))
        >>> products.forward(double, jnp.zeros((1, 2)))(jnp.ones((1, 2))).tolist()
        [[2.0, 2.0]]
    """
    _, product = jax.linearize(fn, z)
    try:
        _trace(jax.vmap(product), jax.tree.map(lambda leaf: leaf[None], z))
    except (TypeError, NotImplementedError):
        return _twice_transposed(fn, z)
    return product


def transpose(product: Map, z: State) -> Map | None:
    """U -> Jᵀu; None where J is known forwards only, as that of a map with a ``while_loop``."""
    transposed = jax.linear_transpose(product, z)
    pull = lambda u: transposed(u)[0]  # noqa: E731
    try:
        _trace(pull, z)
    except (ValueError, NotImplementedError):
        return None
    return pull


def _twice_transposed(fn: Map, z: State) -> Map:
    _, pull = jax.vjp(fn, z)
    transposed = jax.linear_transpose(lambda u: pull(u)[0], z)
    product = lambda u: transposed(u)[0]  # noqa: E731
    try:
        _trace(product, z)
    except Exception as error:
        raise ValueError(
            "the map has no products Ju with its Jacobian, as it contains a custom_vjp whose rule "
            "JAX cannot transpose: write it as a custom_jvp, or use a solver and adjoint that need "
            "none, such as 'auto' and 'implicit'"
        ) from error
    return product


def _trace(product: Map, z: State) -> None:
    """Raise what JAX raises where it cannot evaluate this."""
    jax.eval_shape(product, z)
