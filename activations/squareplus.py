"""Squareplus φ(x) = (x + √(x² + b))/2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp

from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["Squareplus"]


@dataclass(frozen=True)
class Squareplus(Activation):
    """φ(x) = (x + √(x² + b))/2, a smooth rectifier without exponentials.

    Attributes:
        b: b > 0, how far the corner is rounded: φ(0) = √b/2.

    References:
        Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv 2112.11687.
    """

    b: Annotated[float, In("(0, inf)")] = 4.0

    slope = (0.0, 1.0)

    def __call__(self, x):
        """φ(x) = (x + √(x² + b))/2, for x < 0 as b/(2(√(x² + b) - x)), which does not cancel."""
        root = jnp.sqrt(jnp.square(x) + self.b)
        return jnp.where(x >= 0, (x + root) / 2, self.b / (2 * (root - jnp.minimum(x, 0))))

    @property
    def curvature(self):
        """1/(2√b), at 0."""
        return 1 / (2 * math.sqrt(self.b))

    def primitive(self, x):
        """∫₀ˣ φ = x φ(x)/2 + (b/4) arsinh(x/√b)."""
        return x * self(x) / 2 + self.b / 4 * jnp.arcsinh(x / math.sqrt(self.b))

    def hermite(self, degree, scale=1.0):
        """√b a_k of squareplus(1) at scale s/√b, where the quadrature resolves the corner."""
        root = math.sqrt(self.b)
        return root * super(Squareplus, Squareplus(b=1.0)).hermite(degree, scale / root)
