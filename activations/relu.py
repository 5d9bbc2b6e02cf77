"""Rectifier φ(x) = max(x, 0)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation

__all__ = ["ReLU"]


@dataclass(frozen=True)
class ReLU(Activation):
    """φ(x) = max(x, 0).

    References:
        Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009 (the dual).
        Ling et al., "Global Convergence of Over-parameterized Deep Equilibrium Models",
        arXiv 2205.13814.
    """

    kinks = (0.0,)
    slope = (0.0, 1.0)
    curvature = math.inf  # φ' jumps at 0

    def __call__(self, x):
        """φ(x) = max(x, 0)."""
        return jnp.maximum(x, 0)

    def prox(self, u, step_size):
        """φ(u) for every step size: φ is a projection."""
        return self(u)

    def primitive(self, x):
        """∫₀ˣ φ = max(x, 0)²/2."""
        return jnp.square(jnp.maximum(x, 0)) / 2

    def hermite(self, degree, scale=1.0):
        """a_0 = s/√(2π), a_1 = s/2, a_k = s He_{k-2}(0)/√(2π k!)."""
        return gaussian.rectified_hermite(degree, scale)

    def dual_covariance(self, c, q1, q2):
        """(√(q1 q2 - c²) + (π - θ) c)/(2π), cos θ = c/√(q1 q2)."""
        return gaussian.rectified_covariance(c, q1, q2)

    def dual_slope(self, c, q1, q2):
        """(π - θ)/(2π)."""
        return gaussian.rectified_slope(c, q1, q2)
