"""Digits of which pixels are missing, to be completed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from deqzoo.data.restoration import Restoration
from deqzoo.settings import In

__all__ = ["Inpaint"]


@dataclass(frozen=True)
class Inpaint(Restoration):
    """The digits without pixels drawn at random, with noise on the others: data as ``Restoration``.

    Attributes:
        noise: deviation of normal noise; black is 0, white is 1.
        seed: draws the noise and the pixels.
        missing: which share of the pixels, about.
        scaling: as in ``Task``.
        validation: as in ``Task``.

    References:
        The images are those of ``digits``.
    """

    missing: Annotated[float, In("[0, 1)")] = 0.5

    def masks(self, rng, shape):
        """Every pixel by itself."""
        return (rng.random(shape) >= self.missing).astype(float)
