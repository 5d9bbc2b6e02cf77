"""What a character costs a model to write down."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deqzoo.data.losses.cross_entropy import CrossEntropy
from deqzoo.data.metric import CLASSES, Metric

__all__ = ["BitsPerCharacter"]


@dataclass(frozen=True)
class BitsPerCharacter(Metric):
    """The mean cross-entropy in bits, over all labelled entries, of which each is a character.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> bits = catalog.metrics.get("bits_per_character")
        >>> print(f"{bits(jnp.zeros((2, 3, 8)), jnp.zeros((2, 3), int)):.4f}")
        3.0000
    """

    takes = (CLASSES,)

    def entries(self, outputs, targets):
        """Cross-entropies."""
        return CrossEntropy().entries(outputs, targets)

    def value(self, tally):
        """Sum / count / log 2."""
        return super().value(tally) / math.log(2)
