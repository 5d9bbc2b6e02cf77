"""Scale the weights back to where every guarantee holds, after each step."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.training.constraint import BoundConstraint

__all__ = ["Rescale"]


@dataclass(frozen=True)
class Rescale(BoundConstraint):
    """W <- W min(1, (1 - margin)/B), B a cheap upper bound of L‖W‖₂ (or of another guarantee).

    A handful of matrix products and no decomposition. Shrinking all singular values alike, it
    leaves fewer of them at the limit than ``projection`` does, and the equilibria are found in
    fewer steps.

    Attributes:
        margin: distance of the bound from 1, in (0, 1).
    """

    def move(self, guarantee, parameters, limit):
        """The multiple of the constrained parameters that meets the limit."""
        return guarantee.rescale(parameters, limit)
