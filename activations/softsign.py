"""Softsign φ(x) = x/(1 + |x|)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from deqzoo.activation.contract import Activation

__all__ = ["Softsign"]


@dataclass(frozen=True)
class Softsign(Activation):
    """φ(x) = x/(1 + |x|); φ'' jumps from 2 to -2 at 0."""

    kinks = (0.0,)
    slope = (0.0, 1.0)
    curvature = 2.0
    saturation = 1.0

    def __call__(self, x):
        """φ(x) = x/(1 + |x|)."""
        return jax.nn.soft_sign(x)

    def primitive(self, x):
        """∫₀ˣ φ = |x| - log(1 + |x|)."""
        size = jnp.abs(x)
        return size - jnp.log1p(size)
