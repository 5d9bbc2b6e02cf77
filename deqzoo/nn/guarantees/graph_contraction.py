"""L‖W‖₂ < 1: the cell z -> φ(ÂzWᵀ + u) contracts on every graph."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.nn.guarantees.contraction import Contraction

__all__ = ["GraphContraction"]

_ROUNDED = 1 + 8 * float(jnp.finfo(jnp.float32).eps)  # ‖Â‖₂ of rounded D^-1/2


@dataclass(frozen=True)
class GraphContraction(Contraction):
    """|φ(ÂzWᵀ + u) - φ(Âz'Wᵀ + u)| <= L‖Â‖₂‖W‖₂ |z - z'|, Â = D^-1/2 (A + I) D^-1/2, ‖Â‖₂ <= 1.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        path: of W in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.graph_contraction import GraphContraction
        >>> guarantee = GraphContraction(activations.get("tanh"), ("W",))
        >>> bool(guarantee.bound({"W": 0.9 * jnp.eye(3)}) < 1)
        True
    """

    quantity = "L‖W‖₂‖Â‖₂"
    theorem = "the equilibrium exists and is unique for every graph and every input"
    source = "Banach's fixed-point theorem; ‖Â‖₂ <= 1 for symmetric normalisation (deqzoo)"

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L, the bound of W, and that of Â."""
        return (*super().hypotheses, "‖Â‖₂ <= 1, as edges have no direction and nodes a loop")

    def bound(self, parameters):
        """L times a cheap upper bound of ‖W‖₂, and what rounding adds to ‖Â‖₂."""
        return super().bound(parameters) * _ROUNDED

    def sharp_bound(self, parameters):
        """L times a bound of ‖W‖₂ proved in float64, likewise."""
        return super().sharp_bound(parameters) * _ROUNDED

    def nearness(self, parameters):
        """Nothing is said: a state is no vector."""
        del parameters
