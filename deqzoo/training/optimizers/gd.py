"""Plain gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

from deqzoo.training.optimizer import NTK, LearningRate, Optimizer

__all__ = ["GD"]


@dataclass(frozen=True)
class GD(Optimizer):
    """θ <- θ - η ∇Φ(θ), the method of the convergence theorems when the batch is full."""

    learning_rate: LearningRate = field(default=NTK, kw_only=True)

    def transform(self, learning_rate):
        """No momentum."""
        return optax.sgd(learning_rate)
