"""GELU through a hyperbolic tangent, φ(x) = x (1 + tanh(√(2/π)(x + 0.044715 x³)))/2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from deqzoo.activation.contract import Activation

__all__ = ["GELUTanh"]

# φ' at x = 1.4185040087908284, the root of φ''; found to 40 digits by Newton's method in mpmath.
_SLOPE = 1.1289930686587718


@dataclass(frozen=True)
class GELUTanh(Activation):
    """φ(x) = x (1 + tanh(√(2/π)(x + 0.044715 x³)))/2, the usual cheap stand-in for ``gelu``.

    φ(x) - φ(-x) = x, so φ'(x) + φ'(-x) = 1 and the two slope bounds mirror each other about 1/2;
    |φ''| peaks at 0.

    References:
        Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
    """

    slope = (1 - _SLOPE, _SLOPE)
    curvature = math.sqrt(2 / math.pi)

    def __call__(self, x):
        """φ(x) = x/(1 + exp(-2√(2/π)(x + 0.044715 x³))): 1 + tanh would cancel for x << 0."""
        return x * jax.nn.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))
