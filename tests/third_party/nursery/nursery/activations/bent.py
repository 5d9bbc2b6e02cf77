"""The bent identity."""

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo import Activation


@dataclass(frozen=True)
class Bent(Activation):
    """φ(x) = (√(x² + 1) - 1)/2 + x."""

    slope = (0.5, 1.5)
    curvature = 0.5

    def __call__(self, x):
        """Elementwise."""
        return (jnp.sqrt(x * x + 1) - 1) / 2 + x
