"""Softplus φ(x) = log(1 + eˣ)."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from deqzoo.activation.contract import Activation

__all__ = ["Softplus"]


@dataclass(frozen=True)
class Softplus(Activation):
    """φ(x) = log(1 + eˣ), a smooth rectifier; φ' is the logistic function."""

    slope = (0.0, 1.0)
    curvature = 0.25

    def __call__(self, x):
        """φ(x) = log(1 + eˣ)."""
        return jax.nn.softplus(x)
