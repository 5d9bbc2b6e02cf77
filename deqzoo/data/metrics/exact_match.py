"""The share of examples without a single mistake."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.data.metric import CLASSES, Metric

__all__ = ["ExactMatch"]


@dataclass(frozen=True)
class ExactMatch(Metric):
    """The share of examples of which every labelled entry is right; labels -1 are none.

    An example without any label does not count.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> outputs = jnp.eye(2)[jnp.array([[0, 1], [0, 1]])]
        >>> float(catalog.metrics.get("exact_match")(outputs, jnp.array([[0, -1], [1, 1]])))
        0.5
    """

    takes = (CLASSES,)
    higher_is_better = True
    is_share = True

    def entries(self, outputs, targets):
        """One an example."""
        axes, labelled = tuple(range(1, targets.ndim)), targets >= 0
        right = (jnp.argmax(outputs, axis=-1) == targets) | ~labelled
        return jnp.all(right, axis=axes), jnp.any(labelled, axis=axes)
