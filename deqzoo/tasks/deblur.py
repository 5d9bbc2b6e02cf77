"""Blurred digits with noise, to be made sharp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from deqzoo.data.restoration import Restoration
from deqzoo.settings import In

__all__ = ["Deblur"]


@dataclass(frozen=True)
class Deblur(Restoration):
    """The digits, convolved with a Gaussian of so many pixels, with noise: data as ``Restoration``.

    Attributes:
        noise: deviation of normal noise; black is 0, white is 1.
        seed: draws the noise.
        deviation: of the Gaussian, in pixels; its kernel has 5 x 5 entries that sum to one.
        scaling: as in ``Task``.
        validation: as in ``Task``.

    References:
        The images are those of ``digits``.
    """

    deviation: Annotated[float, In("(0, inf)")] = 1.0

    @property
    def blur(self):
        """The Gaussian."""
        line = np.exp(-np.square(np.arange(-2, 3) / self.deviation) / 2)
        kernel = line[:, None] * line
        return kernel / kernel.sum()

    def masks(self, rng, shape):
        """Every pixel is measured."""
        del rng
        return np.ones(shape)
