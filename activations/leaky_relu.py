"""Leaky rectifier φ(x) = max(x, βx), 0 <= β <= 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["LeakyReLU"]


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """φ(x) = max(x, βx) = (1 - β) max(x, 0) + βx.

    Attributes:
        negative_slope: β, the slope left of 0, in [0, 1); β = 1 is ``identity``.
    """

    negative_slope: Annotated[float, In("[0, 1)")] = 0.01

    kinks = (0.0,)
    curvature = math.inf  # φ' jumps at 0

    def __call__(self, x):
        """φ(x) = max(x, βx)."""
        return jnp.where(x >= 0, x, self.negative_slope * x)

    @property
    def slope(self):
        """(β, 1)."""
        return self.negative_slope, 1.0

    def prox(self, u, step_size):
        """β becomes β/(β + α(1 - β)): ψ = (1/β - 1) x²/2 for x < 0."""
        slope = self.negative_slope
        return jnp.where(u >= 0, u, slope / (slope + step_size * (1 - slope)) * u)

    def primitive(self, x):
        """∫₀ˣ φ = φ(x) x/2."""
        return self(x) * x / 2

    def hermite(self, degree, scale=1.0):
        """(1 - β) a_k(relu), plus βs at k = 1."""
        linear = np.where(np.arange(degree + 1) == 1, self.negative_slope * scale, 0.0)
        return (1 - self.negative_slope) * gaussian.rectified_hermite(degree, scale) + linear

    def dual_covariance(self, c, q1, q2):
        """(1 - β)² times the rectifier's, plus βc."""
        return (1 - self.negative_slope) ** 2 * gaussian.rectified_covariance(
            c, q1, q2
        ) + self.negative_slope * c

    def dual_slope(self, c, q1, q2):
        """(1 - β)² times the rectifier's, plus β."""
        return (1 - self.negative_slope) ** 2 * gaussian.rectified_slope(
            c, q1, q2
        ) + self.negative_slope
