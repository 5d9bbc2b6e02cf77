"""Gaussian expectations E f(sZ) and the Hermite basis, in float64 on the host.

h_k = He_k / sqrt(k!), the normalised probabilists' polynomials, are orthonormal under the standard
normal density. Expectations use composite Gauss-Legendre quadrature on [-13, 13], split where f is
not smooth: Gauss-Hermite nodes lose most digits at a kink or near a pole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

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
        kinks: points x where f is not smooth, or bends fast; panels end at x / scale.
        scale: s in E f(sZ), positive; scales up to 24 get finer panels, since f varies faster in z.

    Returns:
        Nodes and weights, both (n,), float64; the weights contain the density.
    """
    panels = _PANELS * math.ceil(min(max(1.0, scale / 1.5), 16.0))
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


def _hermite_rows(z: np.ndarray, degree: int, start: float) -> Iterator[np.ndarray]:
    """h_{k+1} = (z h_k - sqrt(k) h_{k-1}) / sqrt(k+1), which never forms k!."""
    before, row = 0 * z, start + 0 * z
    for k in range(degree + 1):
        yield row
        before, row = row, (z * row - math.sqrt(k) * before) / math.sqrt(k + 1)


def hermite_basis(
    z: Float[np.ndarray, "*shape"], degree: int, start: float = 1.0
) -> Float[np.ndarray, " {degree}+1 *shape"]:
    """h_0 ... h_degree at z, times ``start``."""
    return np.stack(list(_hermite_rows(z, degree, start)))


def hermite_coefficients(
    f: Callable, degree: int, scale: float = 1.0, kinks: Sequence[float] = ()
) -> Float[np.ndarray, " {degree}+1"]:
    """a_k = E f(scale * Z) h_k(Z) for k = 0 ... degree."""
    z, weights = nodes(kinks, scale)
    weighted = weights * np.asarray(f(scale * z), np.float64)
    return np.array([row @ weighted for row in _hermite_rows(z, degree, 1.0)])


def hermite_at_zero(degree: int) -> Float[np.ndarray, " {degree}+1"]:
    """h_k(0): zero for odd k, (-1)^(k/2) (k-1)!! / sqrt(k!) for even k."""
    return hermite_basis(np.zeros(()), degree)


# Closed forms that several activations share.


def rectified_hermite(
    degree: int, scale: float, threshold: float = 0.0
) -> Float[np.ndarray, " {degree}+1"]:
    """Coefficients of max(sx - t, 0).

    With r = t/s, p the density and P its integral from r to infinity: a_0 = s p(r) - t P, a_1 = s P
    and a_k = s p(r) h_{k-2}(r) / sqrt(k(k-1)).
    """
    cut = threshold / scale
    above = math.erfc(cut / math.sqrt(2)) / 2
    height = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    k = np.arange(2, degree + 1)
    tail = hermite_basis(np.asarray(cut), degree, start=height)[:-2] / np.sqrt(k * (k - 1.0))
    return scale * np.append([height - cut * above, above], tail)[: degree + 1]


def clipped_hermite(
    degree: int, scale: float, low: float, high: float
) -> Float[np.ndarray, " {degree}+1"]:
    """Coefficients of min(max(sx, l), h), which is l + max(sx - l, 0) - max(sx - h, 0)."""
    constant = np.where(np.arange(degree + 1) == 0, low, 0.0)
    rise = rectified_hermite(degree, scale, low) - rectified_hermite(degree, scale, high)
    return constant + rise


def erf_hermite(degree: int, scale: float) -> Float[np.ndarray, " {degree}+1"]:
    """Coefficients of erf(sx): 2s/sqrt(pi(1+w)k) (w/(1+w))^{(k-1)/2} h_{k-1}(0), w = 2s^2."""
    w = 2 * scale**2
    k = np.arange(1, degree + 1)
    tail = (w / (1 + w)) ** ((k - 1) / 2) * hermite_at_zero(degree)[:-1] / np.sqrt(k)
    return np.append([0.0], 2 * scale / math.sqrt(math.pi * (1 + w)) * tail)


def wave_hermite(degree: int, frequency: float) -> Float[np.ndarray, " {degree}+1"]:
    """|E exp(itZ) h_k(Z)| = t^k exp(-t^2/2)/sqrt(k!) at frequency t > 0, free of overflow."""
    k = np.arange(degree + 1)
    logarithm = k * math.log(frequency) - frequency**2 / 2 - gammaln(k + 1.0) / 2
    return np.exp(logarithm)


def rectified_covariance(c, q1, q2):
    """E max(u, 0) max(v, 0) = (sqrt(q1 q2 - c^2) + (pi - t) c)/(2 pi), cos t = c/sqrt(q1 q2)."""
    return (_sine(c, q1, q2) + (math.pi - _angle(c, q1, q2)) * c) / (2 * math.pi)


def rectified_slope(c, q1, q2):
    """P(u > 0, v > 0) = (pi - t)/(2 pi)."""
    return (math.pi - _angle(c, q1, q2)) / (2 * math.pi)


def _sine(c, q1, q2):
    """sqrt(q1 q2 - c^2) as a product, which keeps its digits near the diagonal."""
    size = jnp.sqrt(q1 * q2)
    return jnp.sqrt(jnp.maximum((size - c) * (size + c), 0))


def _angle(c, q1, q2):
    return jnp.arctan2(_sine(c, q1, q2), c)
