"""Scale every constrained matrix back below (1 - margin)/L after each step."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.core import spectral
from deqzoo.training.constraint import NormBound

__all__ = ["Rescale"]


@dataclass(frozen=True)
class Rescale(NormBound):
    """W <- W min(1, (1 - margin)/(L B)), B a cheap upper bound of ‖W‖₂.

    A handful of matrix products and no decomposition. Shrinking all singular values alike, it
    leaves fewer of them at the limit than ``projection`` does, and the equilibria are found in
    fewer steps.

    Attributes:
        margin: distance of the contraction factor L‖W‖₂ from 1, in (0, 1).
    """

    def bound(self, weight, limit):
        """The multiple of W that meets the limit."""
        return spectral.shrink_to(weight, limit)
