"""Logarithm of the hyperbolic cosine φ(x) = log cosh x."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.activation.contract import Activation

__all__ = ["LogCosh"]


@dataclass(frozen=True)
class LogCosh(Activation):
    """φ(x) = log cosh x, even, with φ' = tanh; φ'' is largest at 0."""

    slope = (-1.0, 1.0)
    curvature = 1.0

    def __call__(self, x):
        """φ(x) = -log(1 - tanh² x)/2 near 0, |x| + log(1 + e^{-2|x|}) - log 2 elsewhere."""
        near = -jnp.log1p(-jnp.square(jnp.tanh(jnp.clip(x, -2, 2)))) / 2
        far = jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x))) - math.log(2)
        return jnp.where(jnp.abs(x) < 1, near, far)
