"""Gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

from deqzoo.training.optimizer import Optimizer

__all__ = ["Momentum"]


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v <- βv + ∇Φ(θ), θ <- θ - ηv.

    Attributes:
        beta: share of the velocity kept per step, in [0, 1).
        nesterov: look ahead before taking the gradient.
    """

    beta: float = 0.9
    nesterov: bool = False
    learning_rate: float | str = field(default=1e-2, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta must lie in [0, 1), got {self.beta}")

    def transform(self, learning_rate):
        """Optax's SGD with momentum."""
        return optax.sgd(learning_rate, momentum=self.beta, nesterov=self.nesterov)
