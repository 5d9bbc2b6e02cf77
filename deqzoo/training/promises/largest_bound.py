"""The largest bound that the guarantees of a model have in a run."""

from __future__ import annotations

import math
from typing import Any

from deqzoo.nn.model import Model
from deqzoo.training.observer import Observer, Start, Step
from deqzoo.training.promises import guarantees


class LargestBound(Observer):
    """Of the weights as they are drawn and after every step; NaN where one of them is.

    Args:
        model: with at least one guarantee.

    Attributes:
        largest: the bound.
    """

    def __init__(self, model: Model):
        self._guarantees = model.guarantees()
        self.largest = -math.inf

    def at_start(self, start: Start) -> tuple[str, ...]:
        """That of the weights as they are drawn."""
        self._see(start.setup.pure.state.parameters)
        return ()

    def each_step(self, step: Step) -> None:
        """That of the new weights."""
        self._see(step.state.parameters)

    def _see(self, parameters: dict[str, Any]) -> None:
        bound = guarantees.largest_bound(self._guarantees, parameters)
        assert bound is not None
        unknown = math.isnan(bound) or math.isnan(self.largest)
        self.largest = math.nan if unknown else max(self.largest, bound)
