"""Cross-entropy of a softmax."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import optax

from deqzoo.training.loss import Loss

__all__ = ["CrossEntropy"]


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Mean over the batch of -log softmax(outputs)[label]."""

    needs_classes = True

    def __call__(self, outputs, targets):
        """The mean cross-entropy in nats."""
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets))
