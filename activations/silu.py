"""Sigmoid linear unit φ(x) = x/(1 + e⁻ˣ), also called swish."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from deqzoo.activation.contract import Activation

__all__ = ["SiLU"]

# The positive root of x tanh(x/2) = 2, where φ'' vanishes; found to 40 digits by mpmath.
_PEAK = 2.3993572805154677


@dataclass(frozen=True)
class SiLU(Activation):
    """φ(x) = x σ(x), σ the logistic function; φ' is extreme at ±p, p tanh(p/2) = 2, and φ'' at 0.

    References:
        Elfwing et al., "Sigmoid-Weighted Linear Units", arXiv 1702.03118.
    """

    slope = (0.5 - _PEAK / 4, 0.5 + _PEAK / 4)
    curvature = 0.5

    def __call__(self, x):
        """φ(x) = x σ(x)."""
        return jax.nn.silu(x)
