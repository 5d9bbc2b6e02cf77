"""The share of right labels."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.data.metric import CLASSES, Metric

__all__ = ["Accuracy"]


@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of labelled entries whose label is the largest output; labels -1 are none.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> accuracy = catalog.metrics.get("accuracy")
        >>> float(accuracy(jnp.eye(3), jnp.array([0, 2, -1])))
        0.5
    """

    takes = (CLASSES,)
    higher_is_better = True
    is_share = True

    def entries(self, outputs, targets):
        """Which are right, and which are labelled."""
        return jnp.argmax(outputs, axis=-1) == targets, targets >= 0
