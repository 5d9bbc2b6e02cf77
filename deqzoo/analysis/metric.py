"""The number by which outputs are judged: accuracy of labels, loss of real targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from deqzoo.training.loss import Loss

_POINTS = 0.01  # accuracies this close count as equal
_PART = 0.01  # losses that differ by this part count as equal


@dataclass(frozen=True)
class Metric:
    """Accuracy where the targets are labels, else the loss.

    Attributes:
        loss: the loss of the run.
        y: targets of the examples.
    """

    loss: Loss
    y: Any

    @property
    def name(self) -> str:
        """``accuracy`` or ``loss``."""
        return "accuracy" if np.issubdtype(np.asarray(self.y).dtype, np.integer) else "loss"

    @property
    def tolerance(self) -> str:
        """What counts as equal, in words."""
        return "one point" if self.name == "accuracy" else "one percent"

    def __call__(self, outputs: Any) -> float:
        """The metric of the outputs."""
        if self.name == "accuracy":
            return float(np.mean(np.argmax(np.asarray(outputs), axis=1) == np.asarray(self.y)))
        return float(self.loss(outputs, jnp.asarray(self.y)))

    def agrees(self, value: Any, reference: float) -> np.ndarray:
        """Whether values equal the reference within ``tolerance``; NaN never does."""
        allowed = _POINTS if self.name == "accuracy" else _PART * abs(reference)
        return np.abs(np.asarray(value, np.float64) - reference) <= allowed * (1 + 1e-9)
