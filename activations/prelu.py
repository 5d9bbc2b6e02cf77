"""Parametric rectifier φ(x) = max(x, 0) + a min(x, 0), whose slope a is learned in a range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable

__all__ = ["PReLU"]


@dataclass(frozen=True)
class PReLU(Learnable):
    """φ(x) = x for x >= 0, ax for x < 0, with a = the learned number clipped to [low, high].

    Its derivative with respect to the number is taken as if nothing were clipped, so that a slope
    at an end of the range can come back.

    Attributes:
        low: the smallest a.
        high: the largest a.
        init: the a to begin with.
        per_unit: whether every unit learns a slope of its own.

    References:
        He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", arXiv 1502.01852, equation 1.
    """

    low: float = 0.0
    high: float = 1.0
    init: float = 0.25

    curvature = math.inf  # φ' jumps at 0

    def __post_init__(self):
        super().__post_init__()
        if not self.low <= self.init <= self.high:
            raise ValueError(
                f"expected low <= init <= high, got low={self.low}, init={self.init}, "
                f"high={self.high}"
            )

    @property
    def slope(self):
        """(min(low, 1), max(high, 1))."""
        return min(self.low, 1.0), max(self.high, 1.0)

    @property
    def start(self):
        """The slope left of 0."""
        return {"negative_slope": self.init}

    def formula(self, x, *, negative_slope):
        """φ(x) = max(x, 0) + a min(x, 0)."""
        return jnp.where(x >= 0, x, self._clipped(negative_slope) * x)

    def prox_formula(self, u, step_size, *, negative_slope):
        """As that of ``FrozenPReLU``."""
        a = self._clipped(negative_slope)
        return jnp.where(u >= 0, u, a / (a + step_size * (1 - a)) * u)

    def slope_variation(self, *, negative_slope):
        """|1 - a|, the jump at 0."""
        return jnp.abs(1 - self._clipped(negative_slope))

    def _clipped(self, negative_slope):
        fixed = jax.lax.stop_gradient(negative_slope)
        return jnp.clip(fixed, self.low, self.high) + (negative_slope - fixed)

    def ordinary(self, *, negative_slope):
        """The rectifier with the slope that is left after clipping."""
        return FrozenPReLU(float(np.clip(negative_slope, self.low, self.high)))


@dataclass(frozen=True)
class FrozenPReLU(Activation):
    """φ(x) = max(x, 0) + a min(x, 0) = (1 - a) max(x, 0) + ax for a number a that was learned."""

    negative_slope: float

    def __post_init__(self):
        """Whatever was learned will do, also a number next to 0."""

    def __call__(self, x):
        return jnp.where(x >= 0, x, self.negative_slope * x)

    @property
    def slope(self):
        return min(self.negative_slope, 1.0), max(self.negative_slope, 1.0)

    @property
    def curvature(self):
        return 0.0 if self.negative_slope == 1 else math.inf  # φ' jumps at 0

    @property
    def kinks(self):
        return () if self.negative_slope == 1 else (0.0,)

    def prox(self, u, step_size):
        """The slope a becomes a/(a + α(1 - a)): ψ = (1/a - 1) x²/2 for x < 0."""
        self.require_prox()
        a = self.negative_slope
        return jnp.where(u >= 0, u, a / (a + step_size * (1 - a)) * u)

    def primitive(self, x):
        return self(x) * x / 2

    def hermite(self, degree, scale=1.0):
        a = self.negative_slope
        linear = np.where(np.arange(degree + 1) == 1, a * scale, 0.0)
        return (1 - a) * gaussian.rectified_hermite(degree, scale) + linear

    def dual_covariance(self, c, q1, q2):
        a = self.negative_slope
        return (1 - a) ** 2 * gaussian.rectified_covariance(c, q1, q2) + a * c

    def dual_slope(self, c, q1, q2):
        a = self.negative_slope
        return (1 - a) ** 2 * gaussian.rectified_slope(c, q1, q2) + a
