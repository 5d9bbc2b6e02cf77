"""Gaussian error linear unit φ(x) = x Φ(x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["GELU"]

_SLOPE = (1 + math.erf(1)) / 2 + math.exp(-1) / math.sqrt(
    math.pi
)  # Φ(√2) + √2 times the density at √2


@dataclass(frozen=True)
class GELU(Activation):
    """φ(x) = x Φ(x), Φ the standard normal distribution function; φ' is extreme at ±√2, φ'' at 0.

    References:
        Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
    """

    slope = (1 - _SLOPE, _SLOPE)
    curvature = math.sqrt(2 / math.pi)

    def __call__(self, x):
        """φ(x) = x Φ(x)."""
        return jax.nn.gelu(x, approximate=False)

    def primitive(self, x):
        """∫₀ˣ φ = (x² - 1)Φ(x)/2 + x p(x)/2 + 1/4, p the normal density."""
        lower = jax.scipy.special.erfc(-x / math.sqrt(2)) / 2
        density = jnp.exp(-jnp.square(x) / 2) / math.sqrt(2 * math.pi)
        return ((jnp.square(x) - 1) * lower + x * density) / 2 + 0.25

    def hermite(self, degree, scale=1.0):
        """a_0 = w/√(2π(1 + w)), a_1 = s/2, w = s²; the other odd ones vanish.

        Even k >= 2: w(k + w) (w/(1 + w))^{k/2-1} h_{k-2}(0)/√(2π(1 + w)³ k(k - 1)).
        """
        w = scale**2
        k = np.arange(2, degree + 1)
        tail = w * (k + w) * (w / (1 + w)) ** (k / 2 - 1) * gaussian.hermite_at_zero(degree)[:-2]
        tail /= np.sqrt(2 * math.pi * (1 + w) ** 3 * k * (k - 1.0))
        return np.append([w / math.sqrt(2 * math.pi * (1 + w)), scale / 2], tail)[: degree + 1]

    def dual_covariance(self, c, q1, q2):
        """c/4 + [(c² + q1 q2 D²)/(pD) + c arctan(c/D)]/(2π), p = (1+q1)(1+q2), D = √(p - c²)."""
        p = (1 + q1) * (1 + q2)
        d = jnp.sqrt(p - c * c)
        return c / 4 + ((c * c + q1 * q2 * d * d) / (p * d) + c * jnp.arctan(c / d)) / (2 * math.pi)

    def dual_slope(self, c, q1, q2):
        """1/4 + arctan(c/D)/(2π) + c/(2πD) [1/D² + (1 - q1 q2)/p + 1]."""
        p = (1 + q1) * (1 + q2)
        d = jnp.sqrt(p - c * c)
        bracket = 1 / (d * d) + (1 - q1 * q2) / p + 1
        return 0.25 + jnp.arctan(c / d) / (2 * math.pi) + c / (2 * math.pi * d) * bracket
