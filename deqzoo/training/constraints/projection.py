"""Project every constrained matrix onto the ball ‖W‖₂ <= (1 - margin)/L after each step."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.core import spectral
from deqzoo.training.constraint import NormBound

__all__ = ["Projection"]


@dataclass(frozen=True)
class Projection(NormBound):
    """Clip singular values at (1 - margin)/L: the nearest well-posed weights.

    The decomposition runs only in steps where a cheap upper bound of ‖W‖₂ exceeds the limit; where
    training presses against it, that is nearly every step, and ``rescale`` is much cheaper.

    Attributes:
        margin: distance of the contraction factor L‖W‖₂ from 1, in (0, 1).
    """

    def bound(self, weight, limit):
        """The nearest matrix in Frobenius norm."""
        return spectral.project_norm(weight, limit)
