"""Self-normalising exponential linear unit φ(x) = λ elu(x; α) with fixed λ and α."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from deqzoo.activation.contract import Activation

__all__ = ["SELU"]

# With these two, φ(Z) has mean 0 and variance 1 for standard normal Z.
_LAMBDA = 1.0507009873554804934193349852946
_ALPHA = 1.6732632423543772848170429916717


@dataclass(frozen=True)
class SELU(Activation):
    """φ(x) = λx for x >= 0, λα(eˣ - 1) for x < 0; φ' jumps from λα to λ at 0.

    References:
        Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.
    """

    kinks = (0.0,)
    slope = (0.0, _LAMBDA * _ALPHA)
    curvature = math.inf  # φ' jumps at 0

    def __call__(self, x):
        """φ(x) = λ elu(x; α)."""
        return jax.nn.selu(x)

    def primitive(self, x):
        """∫₀ˣ φ = λ(max(x, 0)²/2 + α(eⁿ - 1 - n)), n = min(x, 0)."""
        negative = jnp.minimum(x, 0)
        bend = _ALPHA * (jnp.expm1(negative) - negative)
        return _LAMBDA * (jnp.square(jnp.maximum(x, 0)) / 2 + bend)
