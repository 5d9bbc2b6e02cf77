"""How far a picture stands above its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp

from deqzoo.data.metric import TARGETS, Metric
from deqzoo.settings import In

__all__ = ["PSNR"]


@dataclass(frozen=True)
class PSNR(Metric):
    """10 log₁₀(peak² / mean squared error) in decibels, the mean taken over all numbers of a split.

    So it is the same whether an example is a picture or a pixel of one.

    Attributes:
        peak: the largest value that the targets can take less the smallest.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> print(f"{catalog.metrics.get('psnr')(jnp.zeros((2, 3)), jnp.full((2, 3), 0.1)):.3f}")
        20.000
    """

    peak: Annotated[float, In("(0, inf)")] = 1.0

    takes = (TARGETS,)
    higher_is_better = True

    def entries(self, outputs, targets):
        """Squared errors."""
        return jnp.square(outputs - targets), jnp.ones(targets.shape, bool)

    def value(self, tally):
        """Decibels; infinite without an error."""
        return 10 * jnp.log10(self.peak**2 / super().value(tally))
