"""Cross-entropy of a softmax."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import optax

from deqzoo.data.loss import Loss
from deqzoo.data.metric import CLASSES

__all__ = ["CrossEntropy"]


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Mean over all labelled entries of -log softmax(outputs)[label], in nats; labels -1 are none.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> loss = catalog.losses.get("cross_entropy")
        >>> print(f"{loss(jnp.zeros((2, 3, 4)), jnp.array([[0, 1, -1], [3, -1, -1]])):.4f}")
        1.3863
    """

    takes = (CLASSES,)

    def entries(self, outputs, targets):
        """One a label."""
        labels = jnp.maximum(targets, 0)
        each = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, labels)
        return each, targets >= 0
