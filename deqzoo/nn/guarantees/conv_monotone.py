"""I - W strongly monotone for a W made of convolutions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deqzoo.nn.guarantees.monotone import Monotone

__all__ = ["ConvMonotone"]


@dataclass(frozen=True)
class ConvMonotone(Monotone):
    """<v, Wv> <= (1 - m)|v|² for the W of ``ConvMonotoneCell``, by construction.

    <v, AᵀAv> = |Av|² >= 0 and <v, (B - Bᵀ)v> = 0 for all linear maps A and B of images, whatever
    their padding and strides, where Aᵀ and Bᵀ are the transposes of these very maps. This is W as
    real numbers make it of A and B; what is computed differs from it by roundings.

    Args:
        activation: φ, whose sector is ψ; its declared slopes are measured unless it is one of ours.
        margin: m > 0.
        path: of the cell, which holds A and B, in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.conv_monotone import ConvMonotone
        >>> guarantee, K = ConvMonotone(activations.get("gelu"), 0.5, ()), jnp.ones((3, 3, 2, 2))
        >>> float(guarantee.bound({"A": {"0_to_0": 9 * K}, "B": {"0_to_0": K}}))
        0.5
    """

    theorem = "the equilibrium exists and is unique for every image of every size"
    source = (
        "Winston and Kolter, Monotone operator equilibrium networks, arXiv 2006.08591, Theorem 1 "
        "and Proposition 1; Sector form and transposes of padded convolutions: deqzoo"
    )

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The slopes of φ, the form of W, and what A and B are."""
        return (
            *super().hypotheses,
            "A and B are convolutions, Aᵀ and Bᵀ the transposes of these with their padding",
        )

    def sharp_bound(self, parameters) -> float:
        """1 - m: how little A stretches some image is not cheap to find."""
        return math.nan if math.isnan(float(self.bound(parameters))) else 1 - self.margin

    def nearness(self, parameters):
        """None: the equilibrium is no array (batch, n)."""
        del parameters
