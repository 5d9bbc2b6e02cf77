"""Identity φ(x) = x."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from deqzoo.activation.contract import Activation

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity(Activation):
    """φ(x) = x: the linear model, whose population Gram matrix has rank at most d."""

    slope = (1.0, 1.0)
    curvature = 0.0

    def __call__(self, x):
        """φ(x) = x."""
        return x

    def prox(self, u, step_size):
        """The input u: ψ = 0."""
        return u

    def primitive(self, x):
        """∫₀ˣ φ = x²/2."""
        return jnp.square(x) / 2

    def hermite(self, degree, scale=1.0):
        """a_1 = s, all others 0."""
        return np.where(np.arange(degree + 1) == 1, float(scale), 0.0)

    def dual_covariance(self, c, q1, q2):
        """The covariance c."""
        return c

    def dual_slope(self, c, q1, q2):
        """1."""
        return jnp.ones_like(c)
