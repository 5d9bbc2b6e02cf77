"""Gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import optax

from deqzoo.settings import In
from deqzoo.training.optimizer import LearningRate, Optimizer

__all__ = ["Momentum"]


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v <- βv + g, u = v.

    Attributes:
        beta: share of the velocity kept per step, in [0, 1).
        nesterov: look ahead before taking the gradient.
    """

    beta: Annotated[float, In("[0, 1)")] = 0.9
    nesterov: bool = False
    learning_rate: LearningRate = field(default=1e-2, kw_only=True)

    def transform(self, learning_rate):
        """Optax's SGD with momentum."""
        return optax.sgd(learning_rate, momentum=self.beta, nesterov=self.nesterov)
