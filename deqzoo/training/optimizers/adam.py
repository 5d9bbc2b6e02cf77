"""Adam, with decoupled weight decay if asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

from deqzoo.training.optimizer import Optimizer

__all__ = ["Adam"]


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam; with ``weight_decay`` it is AdamW.

    Attributes:
        b1: decay of the first moment.
        b2: decay of the second moment.
        weight_decay: decoupled decay per unit of learning rate.

    References:
        Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101.
    """

    b1: float = 0.9
    b2: float = 0.999
    weight_decay: float = 0.0
    learning_rate: float | str = field(default=2e-3, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if not (0 <= self.b1 < 1 and 0 <= self.b2 < 1 and self.weight_decay >= 0):
            raise ValueError(
                f"expected b1, b2 in [0, 1) and weight_decay >= 0, got {self.b1}, {self.b2}, "
                f"{self.weight_decay}"
            )

    def transform(self, learning_rate):
        """Optax's AdamW; zero decay is Adam."""
        return optax.adamw(learning_rate, b1=self.b1, b2=self.b2, weight_decay=self.weight_decay)
