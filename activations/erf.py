"""Error function φ(x) = erf(x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["Erf"]


@dataclass(frozen=True)
class Erf(Activation):
    """φ(x) = erf(x); |φ''| peaks at ±1/√2.

    References:
        Williams, "Computing with Infinite Networks", NeurIPS 1996 (the dual).
    """

    slope = (0.0, 2 / math.sqrt(math.pi))
    curvature = 2 * math.sqrt(2 / math.pi) * math.exp(-0.5)
    saturation = 1.0

    def __call__(self, x):
        """φ(x) = erf(x)."""
        return jax.scipy.special.erf(x)

    def primitive(self, x):
        """∫₀ˣ φ = x erf(x) + (exp(-x²) - 1)/√π."""
        return x * jax.scipy.special.erf(x) + jnp.expm1(-jnp.square(x)) / math.sqrt(math.pi)

    def hermite(self, degree, scale=1.0):
        """2s/√(π(1 + w)) (w/(1 + w))^{(k-1)/2} h_{k-1}(0)/√k, w = 2s²."""
        return gaussian.erf_hermite(degree, scale)

    def dual_covariance(self, c, q1, q2):
        """(2/π) arctan(2c/D), D = √((1 + 2q1)(1 + 2q2) - 4c²)."""
        d = jnp.sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * c * c)
        return 2 / math.pi * jnp.arctan(2 * c / d)

    def dual_slope(self, c, q1, q2):
        """4/(πD)."""
        return 4 / math.pi / jnp.sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * c * c)
