"""Hard hyperbolic tangent φ(x) = min(max(x, -1), 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["HardTanh"]


@dataclass(frozen=True)
class HardTanh(Activation):
    """φ(x) = min(max(x, -1), 1), the projection onto [-1, 1]."""

    kinks = (-1.0, 1.0)
    slope = (0.0, 1.0)
    curvature = math.inf  # φ' jumps at ±1
    saturation = 1.0

    def __call__(self, x):
        """φ(x) = min(max(x, -1), 1)."""
        return jnp.clip(x, -1, 1)

    def prox(self, u, step_size):
        """φ(u) for every step size: φ is a projection."""
        return self(u)

    def primitive(self, x):
        """∫₀ˣ φ = y(x - y/2), y = φ(x)."""
        y = self(x)
        return y * (x - y / 2)

    def hermite(self, degree, scale=1.0):
        """A difference of two shifted rectifiers."""
        return gaussian.clipped_hermite(degree, scale, -1.0, 1.0)
