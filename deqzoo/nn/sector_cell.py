"""A cell in two parts whose proximal operator is the sector of an activation, learned or not."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Parameters
from deqzoo.activation.sector import sector
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.nn.split_cell import SplitCell


class SectorCell(SplitCell):
    """v -> ψ(affine(v, x)), ψ = (φ - a·)/(b - a) the sector of φ.

    Of a learnable φ the slopes [a, b] hold for all its parameters, so that ψ is the proximal
    operator of a convex function whatever is learned. They stay a and b when φ is frozen, as the
    weights were learned beside them.

    Args:
        activation: φ, not affine.
        units: entries along the last axis of the state.
        dtype: of the parameters of φ.

    Attributes:
        activation: φ.
        phi: φ with what it learns.
        slopes: a and b.

    Raises:
        ValueError: φ is affine.
    """

    def __init__(self, activation: Activation, units: int, dtype: DTypeLike = jnp.float32):
        sector(activation)  # refuses what has none
        low, high = activation.slope
        self.activation, self.slopes = activation, (low, high)
        self.phi = Nonlinearity(activation, units, dtype)

    @property
    def proximal(self) -> Activation:
        """ψ."""
        return sector(self.phi.activation, self.slopes)

    def learned(self) -> Parameters:
        """Those of φ."""
        return self.phi.parameters()

    def frozen_proximal(self) -> Activation:
        """ψ at the parameters as they are.

        Raises:
            ValueError: every unit has parameters of its own.
        """
        return sector(self.phi.frozen(), self.slopes)
