"""Soft thresholding φ(x) = sign(x) max(|x| - t, 0)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation
from deqzoo.settings import In

__all__ = ["SoftThreshold"]


@dataclass(frozen=True)
class SoftThreshold(Activation):
    """φ(x) = sign(x) max(|x| - t, 0), the proximal operator of t|x|.

    With it, a deep equilibrium model can be an unrolled lasso: z = φ(z - A'(Az - x)).

    Attributes:
        threshold: t > 0.
    """

    threshold: Annotated[float, In("(0, inf)")] = 0.5

    slope = (0.0, 1.0)
    curvature = math.inf  # φ' jumps at ±t

    @property
    def kinks(self):
        """±t."""
        return -float(self.threshold), float(self.threshold)

    def __call__(self, x):
        """φ(x) = x minus its projection onto [-t, t]."""
        return x - jnp.clip(x, -self.threshold, self.threshold)

    def prox(self, u, step_size):
        """The threshold becomes αt: ψ = t|x|."""
        threshold = step_size * self.threshold
        return u - jnp.clip(u, -threshold, threshold)

    def primitive(self, x):
        """∫₀ˣ φ = max(|x| - t, 0)²/2."""
        return jnp.square(self(x)) / 2

    def hermite(self, degree, scale=1.0):
        """Those of x minus those of its projection onto [-t, t]."""
        linear = np.where(np.arange(degree + 1) == 1, float(scale), 0.0)
        return linear - gaussian.clipped_hermite(degree, scale, *self.kinks)
