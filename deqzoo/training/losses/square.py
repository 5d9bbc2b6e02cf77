"""The papers' square loss."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from deqzoo.training.loss import Loss

__all__ = ["Square"]


@dataclass(frozen=True)
class Square(Loss):
    """½ ‖ŷ - y‖², the sum over the batch, as in the papers; labels become one-hot rows.

    Being a sum, it makes a stable step size shrink with the number of examples.
    """

    is_sum = True

    def __call__(self, outputs, targets):
        """½ Σ (ŷ - y)²."""
        if jnp.issubdtype(targets.dtype, jnp.integer):
            targets = jax.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype)
        return jnp.sum(jnp.square(outputs - targets)) / 2
