"""Spectral norms ‖W‖₂ that never err on the unsafe side, and the nearest matrix within a bound."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import trees

_DENSE_LIMIT = 2048
_SQUARINGS = 7
_FAR = 1.5  # times the limit, beyond which one clipping leaves errors that count


def spectral_norm(weight: Float[np.ndarray, "m n"]) -> float:
    """‖W‖₂ on the host in float64: dense up to 2048 rows, Lanczos to full precision above."""
    weight = np.asarray(weight, np.float64)
    if not np.all(np.isfinite(weight)):
        return float("nan")
    if not np.any(weight):
        return 0.0
    if max(weight.shape) <= _DENSE_LIMIT or min(weight.shape) == 1:
        return float(np.linalg.norm(weight, 2))
    try:
        return _lanczos(weight)
    except scipy.sparse.linalg.ArpackError:  # gives up where all singular values agree
        return float(np.linalg.norm(weight, 2))


def _lanczos(weight: Float[np.ndarray, "m n"]) -> float:
    largest = np.max(np.abs(weight))
    start = np.random.default_rng(0).standard_normal(min(weight.shape))
    options: Any = {"k": 1, "tol": 1e-12, "v0": start}
    values = scipy.sparse.linalg.svds(weight / largest, return_singular_vectors=False, **options)
    return float(values[0] * largest)


def proved_norm(weight: Float[np.ndarray, "m n"]) -> float:
    """An upper bound of ‖W‖₂ proved on the host, rounding included; usually 1e-9 above the norm.

    A Cholesky factorisation of t²I - WᵀW that completes proves ‖W‖₂² <= t² up to the rounding of
    the product, m ε ‖W‖_F², and of the factorisation, (n + 2) ε n t². t starts just above the
    computed norm. Infinite or NaN entries give NaN.
    """
    weight = np.asarray(weight, np.float64)
    weight = weight if weight.shape[0] >= weight.shape[1] else weight.T
    size = float(np.max(np.abs(weight), initial=0.0))
    if not 0 < size < np.inf:
        return size
    size = 2.0 ** (np.frexp(size)[1] - 1)  # division by a power of two is exact
    unit = weight / size
    m, n = unit.shape
    eps = float(np.finfo(float).eps)
    gram, square = unit.T @ unit, (1 + 4 * eps) * spectral_norm(unit) ** 2
    for _ in range(8):
        slack = m * eps * float(np.sum(np.square(unit))) + (n + 2) * eps * n * square
        square += 2 * slack
        try:
            np.linalg.cholesky(square * np.eye(n) - gram)
        except np.linalg.LinAlgError:
            continue
        return size * float(np.sqrt(square + slack)) * (1 + 4 * eps)
    return float(np.linalg.norm(weight)) * (1 + m * eps)


def norm_upper_bound(weight: Float[Array, "m n"]) -> Float[Array, ""]:
    """(tr (WᵀW)^p)^(1/2p) >= ‖W‖₂ with p = 2^7, for use inside ``jit``, in at least float32.

    At most n^(1/256) too large (2.2 % at n = 256, usually half of it); inflated by the rounding of
    the dtype.
    """
    weight = _wide(weight)
    largest = jnp.max(jnp.abs(weight))
    unit = weight / jnp.where(largest > 0, largest, 1)
    gram = _exact_product(unit.T, unit)
    log_bound = jnp.zeros((), gram.dtype)
    power = 1.0
    for _ in range(_SQUARINGS):
        size = jnp.trace(gram)
        gram = gram / jnp.where(size > 0, size, 1)
        log_bound += jnp.log(jnp.where(size > 0, size, 1)) / power
        gram, power = _exact_product(gram, gram), 2 * power
    trace = jnp.trace(gram)
    log_bound += jnp.log(jnp.where(trace > 0, trace, 1)) / power
    return largest * (jnp.exp(log_bound / 2) * (1 + 16 * _rounding(weight)))


def project_norm(
    weight: Float[Array, "m n"], limit: float | Float[Array, ""]
) -> Float[Array, "m n"]:
    """The matrix nearest to W in Frobenius norm with ‖W‖₂ <= limit: singular values are clipped.

    Met roundings included: those of a decomposition are a share of ‖W‖₂ and not of the limit, so
    that a matrix far beyond the limit is clipped again. The decomposition runs only when the cheap
    upper bound exceeds the limit.
    """
    excess = jnp.where(norm_upper_bound(weight) > limit, jnp.inf, 0.0)
    return lax.while_loop(
        lambda state: state[1] > _FAR, lambda state: _clip(state[0], limit), (weight, excess)
    )[0]


def _clip(
    weight: Float[Array, "m n"], limit: float | Float[Array, ""]
) -> tuple[Float[Array, "m n"], Float[Array, ""]]:
    """The clipped matrix, and by what factor its largest singular value exceeded the limit."""
    wide = _wide(weight)
    largest = jnp.max(jnp.abs(wide))
    largest = jnp.where(largest > 0, largest, 1)  # far beyond the limit a clipping may leave zero
    unit = wide / largest
    squares, vectors = jnp.linalg.eigh(_exact_product(unit.T, unit))
    sizes = jnp.sqrt(jnp.maximum(squares, 0))
    aim = limit / largest * (1 - 4 * _rounding(wide))
    excess = jnp.maximum(1 - aim / jnp.maximum(sizes, jnp.finfo(sizes.dtype).tiny), 0)
    clipped = wide - _exact_product(_exact_product(wide, vectors) * excess[None], vectors.T)
    return clipped.astype(weight.dtype), jnp.max(sizes) * largest / limit


def shrink_to(weight: Float[Array, "m n"], limit: float | Float[Array, ""]) -> Float[Array, "m n"]:
    """W scaled down, if need be, until its upper bound meets ``limit``."""
    bound = norm_upper_bound(weight)
    factor = jnp.where(bound > limit, limit / jnp.where(bound > 0, bound, 1), 1)
    return (weight * factor).astype(weight.dtype)


def _rounding(weight: Float[Array, "m n"]) -> float:
    """The share of ‖W‖₂ by which a product errs."""
    return float(jnp.finfo(weight.dtype).eps) * max(weight.shape) ** 0.5


def _wide(weight: Float[Array, "m n"]) -> Float[Array, "m n"]:
    return weight.astype(trees.reduction_dtype(weight))


def _exact_product(a: Float[Array, "m k"], b: Float[Array, "k n"]) -> Float[Array, "m n"]:
    """The product in the full precision of the dtype, which accelerators do not give by default."""
    return jnp.matmul(a, b, precision="highest")
