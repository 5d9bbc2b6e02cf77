"""An activation of a symmetric matrix."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def spectral(
    activation: Activation, matrix: Float[Array, "*batch n n"]
) -> Float[Array, "*batch n n"]:
    """φ(A) = V diag(φ(λ)) Vᵀ for A = V diag(λ) Vᵀ: a plug-in applied to eigenvalues.

    The derivative is that of Daleckii and Krein, V (Γ ∘ Vᵀ dA V) Vᵀ with Γ_ij = (φ(λ_i) -
    φ(λ_j))/(λ_i - λ_j), and φ' where the two are equal: finite also where eigenvalues coincide,
    where that of the eigenvectors is not. A second derivative is finite only where they do not.

    Args:
        activation: φ, without learned parameters.
        matrix: A, floating point; of one that is not symmetric the symmetric part is taken.

    Returns:
        φ(A), symmetric, in the dtype of A.

    References:
        Higham, "Functions of Matrices", SIAM 2008, chapter 3.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> swap = jnp.array([[0.0, 1.0], [1.0, 0.0]])
        >>> jnp.round(spectral(catalog.activations.get("relu"), swap), 3).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    eigenvalues, vectors = jnp.linalg.eigh(matrix)
    return (vectors * activation(eigenvalues)[..., None, :]) @ vectors.mT


@spectral.defjvp
def _spectral_jvp(activation, primals, tangents):
    (matrix,), (change,) = primals, tangents
    eigenvalues, vectors = jnp.linalg.eigh(matrix)
    values = activation(eigenvalues)
    change = vectors.mT @ ((change + change.mT) / 2) @ vectors
    moved = vectors @ (_divided_differences(activation, eigenvalues, values) * change) @ vectors.mT
    return (vectors * values[..., None, :]) @ vectors.mT, moved


def _divided_differences(
    activation: Activation, eigenvalues: Float[Array, "*batch n"], values: Float[Array, "*batch n"]
) -> Float[Array, "*batch n n"]:
    """Γ; of a pair nearer than the cube root of the rounding, φ' at its middle is more exact."""
    left, right = eigenvalues[..., :, None], eigenvalues[..., None, :]
    gaps, middle = left - right, (left + right) / 2
    near = jnp.abs(gaps) <= jnp.cbrt(jnp.finfo(gaps.dtype).eps) * jnp.maximum(1, jnp.abs(middle))
    _, slopes = jax.jvp(activation, (middle,), (jnp.ones_like(middle),))
    quotients = (values[..., :, None] - values[..., None, :]) / jnp.where(near, 1, gaps)
    return jnp.where(near, slopes, quotients)
