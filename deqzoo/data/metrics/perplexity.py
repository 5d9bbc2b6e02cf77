"""Between how many tokens a model is in doubt."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.data.losses.cross_entropy import CrossEntropy
from deqzoo.data.metric import CLASSES, Metric

__all__ = ["Perplexity"]


@dataclass(frozen=True)
class Perplexity(Metric):
    """The exponential of the mean cross-entropy in nats, over all labelled entries.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> perplexity = catalog.metrics.get("perplexity")
        >>> print(f"{perplexity(jnp.zeros((2, 3, 7)), jnp.zeros((2, 3), int)):.4f}")
        7.0000
    """

    takes = (CLASSES,)

    def entries(self, outputs, targets):
        """Cross-entropies."""
        return CrossEntropy().entries(outputs, targets)

    def value(self, tally):
        """exp(sum / count)."""
        return jnp.exp(super().value(tally))
