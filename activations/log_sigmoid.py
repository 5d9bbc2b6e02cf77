"""Logarithm of the logistic function φ(x) = -log(1 + e⁻ˣ)."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from deqzoo.activation.contract import Activation

__all__ = ["LogSigmoid"]


@dataclass(frozen=True)
class LogSigmoid(Activation):
    """φ(x) = -log(1 + e⁻ˣ), with φ'(x) the logistic function of -x."""

    slope = (0.0, 1.0)
    curvature = 0.25

    def __call__(self, x):
        """φ(x) = -log(1 + e⁻ˣ)."""
        return jax.nn.log_sigmoid(x)
