"""Hard sigmoid φ(x) = min(max(x + 3, 0), 6)/6."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["HardSigmoid"]


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """φ(x) = min(max(x + 3, 0), 6)/6, which rises from 0 at -3 to 1 at 3."""

    kinks = (-3.0, 3.0)
    slope = (0.0, 1 / 6)
    curvature = math.inf  # φ' jumps at ±3
    saturation = 1.0

    def __call__(self, x):
        """φ(x) = min(max(x + 3, 0), 6)/6."""
        return jax.nn.hard_sigmoid(x)

    def primitive(self, x):
        """∫₀ˣ φ = y²/12 + y/2 + max(x - 3, 0), y = min(max(x, -3), 3)."""
        y = jnp.clip(x, -3, 3)
        return jnp.square(y) / 12 + y / 2 + jnp.maximum(x - 3, 0)

    def hermite(self, degree, scale=1.0):
        """1/2 + y/6, y = min(max(x, -3), 3)."""
        constant = np.where(np.arange(degree + 1) == 0, 0.5, 0.0)
        return constant + gaussian.clipped_hermite(degree, scale, -3.0, 3.0) / 6
