"""Sine φ(x) = sin(bx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["Sin"]


@dataclass(frozen=True)
class Sin(Activation):
    """φ(x) = sin(bx).

    Attributes:
        frequency: b > 0.
    """

    frequency: Annotated[float, In("(0, inf)")] = 1.0

    def __call__(self, x):
        """φ(x) = sin(bx)."""
        return jnp.sin(self.frequency * x)

    @property
    def slope(self):
        """(-b, b)."""
        return -float(self.frequency), float(self.frequency)

    @property
    def curvature(self):
        """b²."""
        return float(self.frequency) ** 2

    def primitive(self, x):
        """∫₀ˣ φ = (1 - cos(bx))/b = 2 sin²(bx/2)/b."""
        return 2 * jnp.square(jnp.sin(self.frequency * x / 2)) / self.frequency

    def hermite(self, degree, scale=1.0):
        """(bs)^k exp(-(bs)²/2) sin(kπ/2)/√k!."""
        signs = np.array([0.0, 1.0, 0.0, -1.0])[np.arange(degree + 1) % 4]
        return signs * gaussian.wave_hermite(degree, self.frequency * scale)

    def dual_covariance(self, c, q1, q2):
        """exp(-b²(q1 + q2)/2) sinh(b²c), with exponents that never exceed 0."""
        square = self.frequency**2
        mean = (q1 + q2) / 2
        return (jnp.exp(square * (c - mean)) - jnp.exp(-square * (c + mean))) / 2

    def dual_slope(self, c, q1, q2):
        """b² exp(-b²(q1 + q2)/2) cosh(b²c)."""
        square = self.frequency**2
        mean = (q1 + q2) / 2
        return square * (jnp.exp(square * (c - mean)) + jnp.exp(-square * (c + mean))) / 2
