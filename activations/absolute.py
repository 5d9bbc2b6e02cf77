"""Absolute value φ(x) = |x|."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["Absolute"]


@dataclass(frozen=True)
class Absolute(Activation):
    """φ(x) = |x| = 2 max(x, 0) - x, even."""

    kinks = (0.0,)
    slope = (-1.0, 1.0)
    curvature = math.inf  # φ' jumps at 0

    def __call__(self, x):
        """φ(x) = |x|."""
        return jnp.abs(x)

    def primitive(self, x):
        """∫₀ˣ φ = x|x|/2."""
        return x * jnp.abs(x) / 2

    def hermite(self, degree, scale=1.0):
        """Twice the rectifier's, except a_1 = 0."""
        return np.where(
            np.arange(degree + 1) == 1, 0.0, 2 * gaussian.rectified_hermite(degree, scale)
        )

    def dual_covariance(self, c, q1, q2):
        """Four times the rectifier's, minus c."""
        return 4 * gaussian.rectified_covariance(c, q1, q2) - c

    def dual_slope(self, c, q1, q2):
        """(2/π) arcsin(c/√(q1 q2)): four times the rectifier's, minus 1."""
        return 4 * gaussian.rectified_slope(c, q1, q2) - 1
