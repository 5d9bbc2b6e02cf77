"""Hyperbolic tangent φ(x) = tanh(x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.activation.contract import Activation

__all__ = ["Tanh"]


@dataclass(frozen=True)
class Tanh(Activation):
    """φ(x) = tanh(x); φ' = 1 - φ², |φ''| peaks at ±artanh(1/√3)."""

    slope = (0.0, 1.0)
    curvature = 4 / (3 * math.sqrt(3))
    saturation = 1.0

    def __call__(self, x):
        """φ(x) = tanh(x)."""
        return jnp.tanh(x)

    def primitive(self, x):
        """∫₀ˣ φ = log cosh x = |x| + log(1 + e^{-2|x|}) - log 2."""
        return jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x))) - math.log(2)
