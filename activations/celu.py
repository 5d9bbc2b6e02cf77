"""Continuously differentiable exponential linear unit: x for x >= 0, α(e^{x/α} - 1) for x < 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp

from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["CELU"]


@dataclass(frozen=True)
class CELU(Activation):
    """φ(x) = max(x, 0) + α(exp(min(x, 0)/α) - 1); φ'' jumps from 1/α to 0 at 0.

    Attributes:
        alpha: α > 0, minus the limit at -∞.

    References:
        Barron, "Continuously Differentiable Exponential Linear Units", arXiv 1704.07483.
    """

    alpha: Annotated[float, In("(0, inf)")] = 1.0

    kinks = (0.0,)
    slope = (0.0, 1.0)

    def __call__(self, x):
        """Selects x or α(e^{x/α} - 1), the exponent cut at 0."""
        return jnp.where(x >= 0, x, self.alpha * jnp.expm1(jnp.minimum(x, 0) / self.alpha))

    @property
    def curvature(self):
        """1/α, approached at 0 from the left."""
        return 1 / self.alpha

    def primitive(self, x):
        """∫₀ˣ φ = max(x, 0)²/2 + α(α(e^{n/α} - 1) - n), n = min(x, 0)."""
        negative = jnp.minimum(x, 0)
        bend = self.alpha * jnp.expm1(negative / self.alpha) - negative
        return jnp.square(jnp.maximum(x, 0)) / 2 + self.alpha * bend

    def hermite(self, degree, scale=1.0):
        """αa_k of celu(1) at scale s/α, where the quadrature resolves the exponential."""
        return self.alpha * super(CELU, CELU()).hermite(degree, scale / self.alpha)
