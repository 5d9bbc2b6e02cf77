"""Fourier multipliers of real fields on a grid: one matrix for each low wave, one for the others.

K f has the Fourier coefficients M_k f^(k), k = (k₁, k₂) with |k₁|, |k₂| <= m, and P f^(k) at all
other k. It maps real fields to real ones where M_-k is the conjugate of M_k, so that one of the two
is kept, and where M_0 and P are real. Fourier series are orthogonal, so that

    ‖K‖₂ = max(‖P‖₂, max_k ‖M_k‖₂)

exactly (without P, where no k is left over). A complex matrix M = A + iB acts on real numbers as
[[A, -B], [B, A]], which has its singular values, each of them twice.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def waves(modes: int) -> int:
    """How many of the k ≠ 0 with |k₁|, |k₂| <= ``modes`` are kept, one of k and -k.

    Example:
        >>> from deqzoo.core.fourier_multiplier import waves
        >>> waves(1), waves(2)
        (4, 12)
    """
    return 2 * modes * (modes + 1)


def multiplied(
    z: Float[Array, "batch height width c"],
    A: Float[Array, "matrices c c"],
    B: Float[Array, "waves c c"],
) -> Float[Array, "batch height width c"]:
    """K z.

    Args:
        z: fields on a grid with more than 2m points each way.
        A: P, M_0 and the real parts of M_k, rows for outputs; the k with k₂ = 0 come first, then
            row by row.
        B: the imaginary parts of M_k.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.fourier_multiplier import multiplied
        >>> A, B = jnp.zeros((6, 1, 1)).at[1].set(1.0), jnp.zeros((4, 1, 1))  # the mean alone
        >>> multiplied(jnp.arange(9.0).reshape(1, 3, 3, 1), A, B).round(3)[0, :, :, 0]
        Array([[4., 4., 4.],
               [4., 4., 4.],
               [4., 4., 4.]], dtype=float32)
    """
    place, sign = _places(len(B))
    down, across = (_wave_table(points, len(place)) for points in z.shape[1:3])
    down, across = (jnp.asarray(table, z.dtype) for table in (down, across[:, len(place) // 2 :]))
    # Axes p and q are of real and imaginary parts; j and k are of k₁ and k₂.
    half = jnp.einsum("pkw,bhwc->bphkc", across, z)
    low = jnp.einsum("pqjh,bphkc->bqjkc", _turns(*down), half)
    real = A[1 + place] - A[0][None, None]
    imaginary = jnp.concatenate([jnp.zeros_like(B[:1]), B])[place]
    imaginary = imaginary * jnp.asarray(sign, z.dtype)[:, :, None, None]
    moved = jnp.einsum("pqjkdc,bpjkc->bqjkd", _turns(real, imaginary), low)
    half = jnp.einsum("pqjh,bqjkd->bphkd", _turns(*down), moved)
    twice = jnp.where(jnp.arange(across.shape[1]) == 0, 1, 2).astype(z.dtype)
    back = across * (twice / (z.shape[1] * z.shape[2]))[None, :, None]
    return jnp.einsum("pkw,bphkd->bhwd", back, half) + z @ A[0].T


def blocks(
    A: Float[Array, "matrices c c"], B: Float[Array, "waves c c"]
) -> Float[Array, "matrices twice twice"]:
    """[[A, -B], [B, A]] of P, M_0 and every M_k.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.fourier_multiplier import blocks
        >>> blocks(jnp.ones((3, 1, 1)), 2 * jnp.ones((1, 1, 1)))[2]
        Array([[ 1., -2.],
               [ 2.,  1.]], dtype=float32)
    """
    whole = jnp.concatenate([jnp.zeros_like(A[:2]), B])
    return jnp.concatenate(
        [jnp.concatenate([A, -whole], axis=2), jnp.concatenate([whole, A], axis=2)], axis=1
    )


def _places(count: int) -> tuple[np.ndarray, np.ndarray]:
    """For k₁ = -m ... m and k₂ = 0 ... m which matrix it is, M_0 first, and the sign of B."""
    modes = round(((1 + 2 * count) ** 0.5 - 1) / 2)
    first = np.arange(-modes, modes + 1)
    rest = np.arange(modes * (2 * modes + 1)).reshape(modes, -1).T + modes + 1
    place = np.concatenate([np.abs(first)[:, None], rest], axis=1)
    return place, np.concatenate([np.sign(first)[:, None], np.ones_like(rest)], axis=1)


def _wave_table(points: int, count: int) -> Float[np.ndarray, "parts waves points"]:
    """Cos and -sin of 2πkx/points, k = -m ... m."""
    k = np.arange(count) - count // 2
    angles = 2 * np.pi * (k[:, None] * np.arange(points) % points) / points
    return np.stack([np.cos(angles), -np.sin(angles)])


def _turns(real: Array, imaginary: Array) -> Float[Array, "p q ..."]:
    """A product with complex numbers or matrices, from real and imaginary parts p to q."""
    return jnp.stack([jnp.stack([real, imaginary]), jnp.stack([-imaginary, real])])
