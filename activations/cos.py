"""Cosine φ(x) = cos(bx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["Cos"]


@dataclass(frozen=True)
class Cos(Activation):
    """φ(x) = cos(bx), even.

    Attributes:
        frequency: b > 0.
    """

    frequency: Annotated[float, In("(0, inf)")] = 1.0

    def __call__(self, x):
        """φ(x) = cos(bx)."""
        return jnp.cos(self.frequency * x)

    @property
    def slope(self):
        """(-b, b)."""
        return -float(self.frequency), float(self.frequency)

    @property
    def curvature(self):
        """b²."""
        return float(self.frequency) ** 2

    def primitive(self, x):
        """∫₀ˣ φ = sin(bx)/b."""
        return jnp.sin(self.frequency * x) / self.frequency

    def hermite(self, degree, scale=1.0):
        """(bs)^k exp(-(bs)²/2) cos(kπ/2)/√k!."""
        signs = np.array([1.0, 0.0, -1.0, 0.0])[np.arange(degree + 1) % 4]
        return signs * gaussian.wave_hermite(degree, self.frequency * scale)

    def dual_covariance(self, c, q1, q2):
        """exp(-b²(q1 + q2)/2) cosh(b²c), with exponents that never exceed 0."""
        square = self.frequency**2
        mean = (q1 + q2) / 2
        return (jnp.exp(square * (c - mean)) + jnp.exp(-square * (c + mean))) / 2

    def dual_slope(self, c, q1, q2):
        """b² exp(-b²(q1 + q2)/2) sinh(b²c)."""
        square = self.frequency**2
        mean = (q1 + q2) / 2
        return square * (jnp.exp(square * (c - mean)) - jnp.exp(-square * (c + mean))) / 2
