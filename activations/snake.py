"""Snake φ(x) = x + sin²(ax)/a."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["Snake"]


@dataclass(frozen=True)
class Snake(Activation):
    """φ(x) = x + sin²(ax)/a = x + (1 - cos(2ax))/(2a), with φ' = 1 + sin(2ax).

    Attributes:
        frequency: a > 0.

    References:
        Liu et al., "Neural Networks Fail to Learn Periodic Functions and How to Fix It",
        arXiv 2006.08195.
    """

    frequency: Annotated[float, In("(0, inf)")] = 1.0

    slope = (0.0, 2.0)

    def __call__(self, x):
        """φ(x) = x + sin²(ax)/a."""
        return x + jnp.square(jnp.sin(self.frequency * x)) / self.frequency

    @property
    def curvature(self):
        """2a."""
        return 2 * float(self.frequency)

    def primitive(self, x):
        """∫₀ˣ φ = x²/2 + (x - sin(2ax)/(2a))/(2a)."""
        twice = 2 * self.frequency
        return jnp.square(x) / 2 + (x - jnp.sin(twice * x) / twice) / twice

    def hermite(self, degree, scale=1.0):
        """(1 - exp(-w/2))/(2a), s, then -w^{k/2} exp(-w/2) cos(kπ/2)/(2a √k!), w = (2as)²."""
        twice = 2 * self.frequency
        signs = np.array([1.0, 0.0, -1.0, 0.0])[np.arange(degree + 1) % 4]
        coefficients = -signs * gaussian.wave_hermite(degree, twice * scale) / twice
        coefficients[0] = -math.expm1(-((twice * scale) ** 2) / 2) / twice
        coefficients[1:2] += scale
        return coefficients

    def dual_covariance(self, c, q1, q2):
        """E φφ = c + [(1 - g(q1))(1 - g(q2)) + g(q1)g(q2)(cosh(4a²c) - 1)]/(4a²).

        Here g(q) = exp(-2a²q), and no exponent exceeds 0.
        """
        square = 4 * self.frequency**2
        mean = (q1 + q2) / 2
        bumps = jnp.expm1(-square * q1 / 2) * jnp.expm1(-square * q2 / 2)
        wave = jnp.exp(square * (c - mean) / 2) - jnp.exp(-square * (c + mean) / 2)
        return c + (bumps + jnp.square(wave) / 2) / square

    def dual_slope(self, c, q1, q2):
        """1 + g(q1)g(q2) sinh(4a²c)."""
        square = 4 * self.frequency**2
        mean = (q1 + q2) / 2
        return 1 + (jnp.exp(square * (c - mean)) - jnp.exp(-square * (c + mean))) / 2
