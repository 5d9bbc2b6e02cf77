"""Gaussian bump φ(x) = exp(-x²/2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(Activation):
    """φ(x) = exp(-x²/2), even; φ' is extreme at ±1 and φ'' at 0."""

    slope = (-math.exp(-0.5), math.exp(-0.5))
    curvature = 1.0

    def __call__(self, x):
        """φ(x) = exp(-x²/2)."""
        return jnp.exp(-jnp.square(x) / 2)

    def primitive(self, x):
        """∫₀ˣ φ = √(π/2) erf(x/√2)."""
        return math.sqrt(math.pi / 2) * jax.scipy.special.erf(x / math.sqrt(2))

    def hermite(self, degree, scale=1.0):
        """(w/(1 + w))^{k/2} h_k(0)/√(1 + w), w = s²."""
        w = scale**2
        powers = (w / (1 + w)) ** (np.arange(degree + 1) / 2)
        return powers * gaussian.hermite_at_zero(degree) / math.sqrt(1 + w)

    def dual_covariance(self, c, q1, q2):
        """1/D, D = √((1 + q1)(1 + q2) - c²)."""
        return 1 / jnp.sqrt((1 + q1) * (1 + q2) - c * c)

    def dual_slope(self, c, q1, q2):
        """c/D³."""
        square = (1 + q1) * (1 + q2) - c * c
        return c / (square * jnp.sqrt(square))
