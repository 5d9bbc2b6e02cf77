"""L‖W‖_∞ < 1: the cell z -> φ(Wz + b) contracts in the maximum norm."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.core import trees
from deqzoo.nn.guarantees.row_sums import RowSums

__all__ = ["MaxNorm"]


@dataclass(frozen=True)
class MaxNorm(RowSums):
    """‖W‖_∞ = max_i Σ_j |W_ij|.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.max_norm import MaxNorm
        >>> guarantee = MaxNorm(activations.get("tanh"), ("W",))
        >>> parameters = {"W": jnp.array([[0.5, -0.4], [0.3, 0.1]])}
        >>> round(float(guarantee.bound(parameters)), 4)
        0.9
    """

    quantity = "L‖W‖_∞"
    norm = "‖W‖_∞"

    def weights(self, weight):
        """Ones."""
        return jnp.ones(weight.shape[0], trees.reduction_dtype(weight))
