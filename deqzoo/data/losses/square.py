"""The papers' square loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp

from deqzoo.data.loss import Loss
from deqzoo.settings import In

__all__ = ["Square"]


@dataclass(frozen=True)
class Square(Loss):
    """½ ‖ŷ - c y‖², the sum over the batch, as in the papers; labels become one-hot rows.

    Being a sum, it makes a stable step size shrink with the number of examples. Entries labelled
    -1 do not count.

    Attributes:
        target_scale: c > 0. The convergence theorems need small targets; the outputs then are c
            times what they would be.
    """

    target_scale: Annotated[float, In("(0, inf)")] = 1.0

    is_sum = True

    def entries(self, outputs, targets):
        """(ŷ - c y)² of every number."""
        scaled = self.targets(targets, outputs.shape[-1]).astype(outputs.dtype)
        labels = jnp.issubdtype(targets.dtype, jnp.integer)
        kept = targets[..., None] >= 0 if labels else jnp.ones(targets.shape, bool)
        return jnp.square(outputs - scaled), jnp.broadcast_to(kept, outputs.shape)

    def value(self, tally):
        """Half of the sum."""
        return super().value(tally) / 2

    def targets(self, targets, outputs: int):
        """The scaled targets c y; labels become one-hot rows of ``outputs`` entries."""
        if jnp.issubdtype(targets.dtype, jnp.integer):
            targets = jax.nn.one_hot(targets, outputs)
        return self.target_scale * targets
