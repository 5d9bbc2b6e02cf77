"""Move the weights to the nearest ones under which every guarantee holds, after each step."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.training.constraint import BoundConstraint

__all__ = ["Projection"]


@dataclass(frozen=True)
class Projection(BoundConstraint):
    """The nearest weights with L‖W‖₂ <= 1 - margin, or whatever the model's guarantee asks for.

    For L‖W‖₂ singular values are clipped. The decomposition runs only in steps where a cheap upper
    bound of ‖W‖₂ exceeds the limit; where training presses against it, that is nearly every step,
    and ``rescale`` is much cheaper.

    Attributes:
        margin: distance of the bound from 1, in (0, 1).
    """

    def move(self, guarantee, parameters, limit):
        """The nearest parameters in Frobenius norm."""
        return guarantee.project(parameters, limit)
