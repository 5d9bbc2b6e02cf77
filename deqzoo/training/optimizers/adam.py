"""Adam."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import optax

from deqzoo.settings import In
from deqzoo.training.optimizer import LearningRate, Optimizer

__all__ = ["Adam"]


@dataclass(frozen=True)
class Adam(Optimizer):
    """u = m/(√v + 1e-8), m and v the corrected moments of g; with ``weight_decay`` it is AdamW.

    Attributes:
        b1: decay of the first moment.
        b2: decay of the second moment.

    References:
        Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101.
    """

    b1: Annotated[float, In("[0, 1)")] = 0.9
    b2: Annotated[float, In("[0, 1)")] = 0.999
    learning_rate: LearningRate = field(default=2e-3, kw_only=True)

    def transform(self, learning_rate):
        """Optax's Adam."""
        return optax.adam(learning_rate, b1=self.b1, b2=self.b2)
