"""Mish φ(x) = x tanh(log(1 + eˣ))."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from deqzoo.activation.contract import Activation

__all__ = ["Mish"]


@dataclass(frozen=True)
class Mish(Activation):
    """φ(x) = x tanh(softplus(x)).

    References:
        Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", arXiv 1908.08681.
    """

    # φ' at the two roots of φ'', -2.2563763963607931 and 1.4905711794854284, and φ'' at the root of
    # the third derivative, -0.08793443131491421; found to 40 digits by mpmath.
    slope = (-0.11252612238946256, 1.0884981612517279)
    curvature = 0.64420463723697243

    def __call__(self, x):
        """φ(x) = x tanh(softplus(x))."""
        return jax.nn.mish(x)
