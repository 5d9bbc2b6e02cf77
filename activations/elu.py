"""Exponential linear unit φ(x) = x for x >= 0, α(eˣ - 1) for x < 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp

from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["ELU"]


@dataclass(frozen=True)
class ELU(Activation):
    """φ(x) = max(x, 0) + α(exp(min(x, 0)) - 1); φ' jumps from α to 1 at 0 unless α = 1.

    The Hermite coefficients are left to quadrature: the recurrence they obey amplifies rounding by
    e^{s²/2}.

    Attributes:
        alpha: α > 0, minus the limit at -∞.

    References:
        Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units",
        arXiv 1511.07289.
    """

    alpha: Annotated[float, In("(0, inf)")] = 1.0

    kinks = (0.0,)

    def __call__(self, x):
        """Selects x or α(eˣ - 1), the exponent cut at 0 so that the unused branch stays finite."""
        return jnp.where(x >= 0, x, self.alpha * jnp.expm1(jnp.minimum(x, 0)))

    @property
    def slope(self):
        """(0, max(1, α)): approached at -∞, and on one side of 0."""
        return 0.0, max(1.0, float(self.alpha))

    @property
    def curvature(self):
        """1 for α = 1, approached at 0 from the left."""
        return 1.0 if self.alpha == 1 else math.inf

    def primitive(self, x):
        """∫₀ˣ φ = max(x, 0)²/2 + α(eⁿ - 1 - n), n = min(x, 0)."""
        negative = jnp.minimum(x, 0)
        return jnp.square(jnp.maximum(x, 0)) / 2 + self.alpha * (jnp.expm1(negative) - negative)
