"""Scale every constrained matrix back below (1 - margin)/L after each step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from deqzoo import spectral
from deqzoo.training.constraint import Constraint, replace_at, require_margin

__all__ = ["Rescale"]


@dataclass(frozen=True)
class Rescale(Constraint):
    """W <- W min(1, (1 - margin)/(L B)), B a cheap upper bound of ‖W‖₂.

    Seven matrix products and no decomposition. Shrinking all singular values alike, it leaves fewer
    of them at the limit than ``projection`` does, and the equilibria are found in fewer steps.

    Attributes:
        margin: distance of the contraction factor L‖W‖₂ from 1, in (0, 1).
    """

    margin: float = 0.05

    guarantees = True

    def __post_init__(self):
        require_margin(self.margin)

    def apply(self, parameters, limits):
        """Parameters whose constrained matrices meet their limits."""
        for path, limit in limits.items():
            shrink = partial(spectral.shrink_to, limit=(1 - self.margin) * limit)
            parameters = replace_at(parameters, path, shrink)
        return parameters
