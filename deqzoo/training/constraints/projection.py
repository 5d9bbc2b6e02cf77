"""Project every constrained matrix onto the ball ‖W‖₂ <= (1 - margin)/L after each step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from deqzoo import spectral
from deqzoo.training.constraint import Constraint, replace_at, require_margin

__all__ = ["Projection"]


@dataclass(frozen=True)
class Projection(Constraint):
    """Clip singular values at (1 - margin)/L: the nearest well-posed weights.

    The decomposition runs only in steps where a cheap upper bound of ‖W‖₂ exceeds the limit;
    where training presses against it, that is nearly every step, and ``rescale`` is much cheaper.

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
            clip = partial(spectral.project_norm, limit=(1 - self.margin) * limit)
            parameters = replace_at(parameters, path, clip)
        return parameters
