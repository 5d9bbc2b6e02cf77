"""Logistic function φ(x) = 1/(1 + e⁻ˣ)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from deqzoo.activation.contract import Activation

__all__ = ["Sigmoid"]


@dataclass(frozen=True)
class Sigmoid(Activation):
    """φ(x) = 1/(1 + e⁻ˣ); φ' = φ(1 - φ), |φ''| peaks at ±log(2 + √3)."""

    slope = (0.0, 0.25)
    curvature = 1 / (6 * math.sqrt(3))
    saturation = 1.0

    def __call__(self, x):
        """φ(x) = 1/(1 + e⁻ˣ)."""
        return jax.nn.sigmoid(x)

    def primitive(self, x):
        """∫₀ˣ φ = log((1 + eˣ)/2)."""
        return jax.nn.softplus(x) - math.log(2)
