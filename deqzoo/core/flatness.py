"""How sharp a minimum of the square loss is: the trace of its Hessian, from products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Outputs = Callable[[Any], Float[Array, "examples ..."]]


def trace(outputs: Outputs, parameters: Any) -> Float[Array, ""]:
    """(2/n) Σ_i ‖∂f(x_i)/∂θ‖_F², exactly: one reverse product for every number of the outputs.

    The trace of the Hessian of (1/n) Σ |f(x_i) - y_i|² where f(x_i) = y_i; elsewhere that of its
    Gauss-Newton part. Differentiable.

    Args:
        outputs: θ -> f of all n examples, on axis 0.
        parameters: θ, any pytree.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core import flatness
        >>> float(flatness.trace(lambda w: jnp.ones((5, 3)) @ w, jnp.ones(3)))
        6.0
    """
    found, pull = jax.vjp(outputs, parameters)
    directions = jnp.eye(found.size, dtype=found.dtype).reshape(-1, *found.shape)
    return _squares(pull, directions).sum() * (2 / len(found))


def trace_estimate(
    outputs: Outputs, parameters: Any, key: Array, probes: int = 1
) -> Float[Array, ""]:
    """An unbiased estimate of ``trace``: (2/n) E |∇_θ Σ_i ⟨v_i, f(x_i)⟩|², v random signs.

    (Hutchinson.) One reverse product a probe, which of an equilibrium is one backward solve; the
    equilibria are found once. Differentiable.

    Args:
        outputs: θ -> f of all n examples, on axis 0.
        parameters: θ, any pytree.
        key: a JAX key.
        probes: draws of v; the variance falls like 1/probes.
    """
    return trace_samples(outputs, parameters, key, probes).mean()


def trace_samples(
    outputs: Outputs, parameters: Any, key: Array, probes: int
) -> Float[Array, " probes"]:
    """What every probe of ``trace_estimate`` finds."""
    found, pull = jax.vjp(outputs, parameters)
    signs = jax.random.rademacher(key, (probes, *found.shape), found.dtype)
    return _squares(pull, signs) * (2 / len(found))


def _squares(pull: Callable[[Array], Any], directions: Array) -> Float[Array, " directions"]:
    """|Jᵀv|² of each direction, one after another."""

    def square(v: Array) -> Float[Array, ""]:
        return jnp.stack([jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(pull(v))]).sum()

    return lax.map(square, directions)
