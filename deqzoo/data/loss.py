"""The contract of a loss: a metric that is differentiated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deqzoo.data.metric import Metric
from deqzoo.data.tally import Tally


@dataclass(frozen=True)
class Loss(Metric):
    """A scalar of a batch of outputs and targets, differentiable in the outputs.

    To write a loss, derive a frozen dataclass in a file of ``deqzoo/data/losses`` and define
    ``entries``.

    Attributes:
        is_sum: whether entries are added up (True) or averaged (False); the loss of a data set is
            taken alike.
    """

    is_sum = False

    def value(self, tally: Tally) -> Any:
        """The sum, or the mean."""
        return tally.sum if self.is_sum else super().value(tally)
