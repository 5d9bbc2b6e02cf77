"""L ρ(|W|) < 1: the cell z -> φ(Wz + b) contracts in the maximum norm of a Perron vector."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.core import row_sums
from deqzoo.nn.guarantees.row_sums import RowSums

__all__ = ["Perron"]


@dataclass(frozen=True)
class Perron(RowSums):
    """ρ(|W|) <= max_i (|W|v)_i/v_i for every v > 0, with equality for the Perron vector.

    It admits more than ‖W‖_∞: the norm of single rows may be anything. What is projected on is the
    set that the present v proves, a convex part of all W with L ρ(|W|) <= limit.

    References:
        Perron and Frobenius; Collatz, "Einschließungssatz für die charakteristischen Zahlen von
        Matrizen", Mathematische Zeitschrift 48 (1942), has the bound for any v.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.perron import Perron
        >>> guarantee = Perron(activations.get("tanh"), ("W",))
        >>> parameters = {"W": jnp.array([[0.0, 9.0], [0.01, 0.0]])}
        >>> 0.3 <= float(guarantee.bound(parameters)) < 0.31
        True
    """

    quantity = "L ρ(|W|)"
    norm = "ρ(|W|)"

    def weights(self, weight):
        """Near the Perron vector of |W|."""
        return row_sums.perron_vector(weight)
