"""Gaussian expectations E f(sZ) and the normalised probabilists' Hermite basis, in float64 on the host.

h_k = He_k / sqrt(k!) is orthonormal under the standard normal density. Expectations use composite Gauss-Legendre
quadrature on [-13, 13], split where f is not smooth: Gauss-Hermite nodes lose most digits at a kink or near a pole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

_LIMIT = 13.0  # the density is below 1e-37 there
_PANELS = 26
_NODES = 40


def density(z: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """exp(-z^2/2) / sqrt(2 pi)."""
    return np.exp(-0.5 * np.square(z)) / math.sqrt(2 * math.pi)


def nodes(
    kinks: Sequence[float] = (), scale: float = 1.0
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Nodes z and weights w with sum_i w_i f(scale * z_i) = E f(scale * Z).

    Args:
        kinks: points x where f is not smooth; panels end at x / scale.
        scale: s in E f(sZ), positive; larger scales get finer panels, since f varies faster in z.

    Returns:
        Nodes and weights, both (n,), float64; the weights contain the density.
    """
    panels = _PANELS * math.ceil(max(1.0, scale / 1.5))
    return _split_nodes(tuple(sorted(float(kink) / scale for kink in kinks)), panels)


@functools.lru_cache(maxsize=256)
def _split_nodes(cuts: tuple[float, ...], panels: int) -> tuple[np.ndarray, np.ndarray]:
    inner = [cut for cut in cuts if -_LIMIT < cut < _LIMIT]
    edges = np.unique(np.concatenate([np.linspace(-_LIMIT, _LIMIT, panels + 1), inner]))
    points, weights = legendre(_NODES)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + points)).ravel()
    return z, (half * weights).ravel() * density(z)


@functools.lru_cache(maxsize=8)
def legendre(count: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Gauss-Legendre nodes and weights on [-1, 1]."""
    return np.polynomial.legendre.leggauss(count)


def expectation(f: Callable, scale: float = 1.0, kinks: Sequence[float] = ()) -> float:
    """E f(scale * Z), Z standard normal, for a vectorised f.

    Example:
        >>> round(expectation(np.abs, scale=2.0, kinks=(0.0,)), 12)  # 2 sqrt(2/pi)
        1.595769121606
    """
    z, weights = nodes(kinks, scale)
    return float(weights @ np.asarray(f(scale * z), np.float64))


def hermite_basis(z: Float[np.ndarray, " n"], degree: int) -> Float[np.ndarray, "degree+1 n"]:
    """h_0 ... h_degree at z by h_{k+1} = (z h_k - sqrt(k) h_{k-1}) / sqrt(k+1), which never forms k!."""
    basis = np.empty((degree + 1, *np.shape(z)))
    basis[0] = 1.0
    if degree:
        basis[1] = z
    for k in range(1, degree):
        basis[k + 1] = (z * basis[k] - math.sqrt(k) * basis[k - 1]) / math.sqrt(k + 1)
    return basis


def hermite_coefficients(
    f: Callable, degree: int, scale: float = 1.0, kinks: Sequence[float] = ()
) -> Float[np.ndarray, " degree+1"]:
    """a_k = E f(scale * Z) h_k(Z) for k = 0 ... degree."""
    z, weights = nodes(kinks, scale)
    return hermite_basis(z, degree) @ (weights * np.asarray(f(scale * z), np.float64))


def hermite_at_zero(degree: int) -> Float[np.ndarray, " degree+1"]:
    """h_k(0): zero for odd k, (-1)^(k/2) (k-1)!! / sqrt(k!) for even k."""
    return hermite_basis(np.zeros(()), degree)


def rectified_hermite(degree: int, scale: float) -> Float[np.ndarray, " degree+1"]:
    """Coefficients of max(sx, 0): a_0 = s/sqrt(2 pi), a_1 = s/2, a_k = s He_{k-2}(0)/sqrt(2 pi k!)."""
    k = np.arange(2, degree + 1)
    tail = hermite_at_zero(degree)[:-2] / np.sqrt(2 * math.pi * k * (k - 1.0))
    return scale * np.concatenate([[1 / math.sqrt(2 * math.pi), 0.5], tail])[: degree + 1]


def rectified_covariance(c, q1, q2):
    """E max(u, 0) max(v, 0) = (sqrt(q1 q2 - c^2) + (pi - theta) c)/(2 pi), cos theta = c/sqrt(q1 q2); any arrays."""
    return (_sine(c, q1, q2) + (math.pi - _angle(c, q1, q2)) * c) / (2 * math.pi)


def rectified_slope(c, q1, q2):
    """P(u > 0, v > 0) = (pi - theta)/(2 pi)."""
    return (math.pi - _angle(c, q1, q2)) / (2 * math.pi)


def _sine(c, q1, q2):
    """sqrt(q1 q2 - c^2) as a product, which keeps its digits near the diagonal."""
    size = jnp.sqrt(q1 * q2)
    return jnp.sqrt(jnp.maximum((size - c) * (size + c), 0))


def _angle(c, q1, q2):
    return jnp.arctan2(_sine(c, q1, q2), c)
