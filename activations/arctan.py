"""Inverse tangent φ(x) = arctan(x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.activation.contract import Activation

__all__ = ["Arctan"]


@dataclass(frozen=True)
class Arctan(Activation):
    """φ(x) = arctan(x); |φ''| peaks at ±1/√3."""

    slope = (0.0, 1.0)
    curvature = 3 * math.sqrt(3) / 8
    saturation = math.pi / 2

    def __call__(self, x):
        """φ(x) = arctan(x)."""
        return jnp.arctan(x)

    def primitive(self, x):
        """∫₀ˣ φ = x arctan(x) - log(1 + x²)/2."""
        return x * jnp.arctan(x) - jnp.log1p(jnp.square(x)) / 2
