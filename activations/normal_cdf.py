"""Standard normal distribution function φ(x) = Φ(x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["NormalCDF"]


@dataclass(frozen=True)
class NormalCDF(Activation):
    """φ(x) = Φ(x) = (1 + erf(x/√2))/2; φ' is the normal density, |φ''| peaks at ±1."""

    slope = (0.0, 1 / math.sqrt(2 * math.pi))
    curvature = math.exp(-0.5) / math.sqrt(2 * math.pi)
    saturation = 1.0

    def __call__(self, x):
        """φ(x) = erfc(-x/√2)/2, which keeps its digits for x << 0."""
        return jax.scipy.special.erfc(-x / math.sqrt(2)) / 2

    def primitive(self, x):
        """∫₀ˣ φ = x Φ(x) + (exp(-x²/2) - 1)/√(2π)."""
        return x * self(x) + jnp.expm1(-jnp.square(x) / 2) / math.sqrt(2 * math.pi)

    def hermite(self, degree, scale=1.0):
        """a_0 = 1/2, else half of erf's at s/√2."""
        odd = gaussian.erf_hermite(degree, scale / math.sqrt(2)) / 2
        return np.where(np.arange(degree + 1) == 0, 0.5, odd)

    def dual_covariance(self, c, q1, q2):
        """1/4 + arctan(c/D)/(2π), D = √((1 + q1)(1 + q2) - c²)."""
        return 0.25 + jnp.arctan(c / jnp.sqrt((1 + q1) * (1 + q2) - c * c)) / (2 * math.pi)

    def dual_slope(self, c, q1, q2):
        """1/(2πD)."""
        return 1 / (2 * math.pi * jnp.sqrt((1 + q1) * (1 + q2) - c * c))
