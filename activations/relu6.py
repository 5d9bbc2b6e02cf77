"""Rectifier capped at six, φ(x) = min(max(x, 0), 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["ReLU6"]


@dataclass(frozen=True)
class ReLU6(Activation):
    """φ(x) = min(max(x, 0), 6), the projection onto [0, 6]."""

    kinks = (0.0, 6.0)
    slope = (0.0, 1.0)
    curvature = math.inf  # φ' jumps at 0 and 6
    saturation = 6.0

    def __call__(self, x):
        """φ(x) = min(max(x, 0), 6)."""
        return jax.nn.relu6(x)

    def prox(self, u, step_size):
        """φ(u) for every step size: φ is a projection."""
        return self(u)

    def primitive(self, x):
        """∫₀ˣ φ = y(x - y/2), y = φ(x)."""
        y = jnp.clip(x, 0, 6)
        return y * (x - y / 2)

    def hermite(self, degree, scale=1.0):
        """A difference of two shifted rectifiers."""
        return gaussian.clipped_hermite(degree, scale, 0.0, 6.0)
