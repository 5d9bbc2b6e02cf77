"""Hard swish φ(x) = x min(max(x + 3, 0), 6)/6."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["HardSiLU"]


@dataclass(frozen=True)
class HardSiLU(Activation):
    """φ(x) = 0 below -3, x(x + 3)/6 in between, x above 3; φ' is extreme just inside ±3.

    References:
        Howard et al., "Searching for MobileNetV3", arXiv 1905.02244.
    """

    kinks = (-3.0, 3.0)
    slope = (-0.5, 1.5)
    curvature = math.inf  # φ' jumps at ±3

    def __call__(self, x):
        """φ(x) = x min(max(x + 3, 0), 6)/6."""
        return jax.nn.hard_silu(x)

    def primitive(self, x):
        """∫₀ˣ φ = y³/18 + y²/4 + (m² - 9)/2, y = min(max(x, -3), 3), m = max(x, 3)."""
        y = jnp.clip(x, -3, 3)
        above = (jnp.square(jnp.maximum(x, 3)) - 9) / 2
        return y**3 / 18 + jnp.square(y) / 4 + above

    def hermite(self, degree, scale=1.0):
        """s(√(k+1) b_{k+1} + √k b_{k-1}), b of the factor 1/2 + y/6, y = min(max(x, -3), 3)."""
        factor = gaussian.clipped_hermite(degree + 1, scale, -3.0, 3.0) / 6
        factor[0] += 0.5
        roots = np.sqrt(np.arange(degree + 2))
        below = np.concatenate([[0.0], factor[:-2]])
        return scale * (roots[1:] * factor[1:] + roots[:-1] * below)
