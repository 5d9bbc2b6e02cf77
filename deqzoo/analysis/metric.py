"""The number by which outputs are judged: the first metric of the task, or else the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from deqzoo.data import metric as data

_POINTS = 0.01  # shares this close count as equal
_PART = 0.01  # other numbers that differ by this part count as equal


@dataclass(frozen=True)
class Metric:
    """A metric of a run on certain examples.

    Attributes:
        name: under which the run records it.
        of: the metric.
        y: targets of the examples.
    """

    name: str
    of: data.Metric
    y: Any

    @property
    def tolerance(self) -> str:
        """What counts as equal, in words."""
        return "one point" if self.of.is_share else "one percent"

    def __call__(self, outputs: Any) -> float:
        """The metric of the outputs."""
        return float(self.of(jnp.asarray(outputs), jnp.asarray(self.y)))

    def agrees(self, value: Any, reference: float) -> np.ndarray:
        """Whether values equal the reference within ``tolerance``; NaN never does."""
        allowed = _POINTS if self.of.is_share else _PART * abs(reference)
        return np.abs(np.asarray(value, np.float64) - reference) <= allowed * (1 + 1e-9)
