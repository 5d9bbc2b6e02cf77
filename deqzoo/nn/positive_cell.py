"""The cell of nonnegative weights, which contracts in Thomson's metric whatever their size."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.subhomogeneous import Subhomogeneous
from deqzoo.settings import In, fitted

Gain = Annotated[float, In("(0, inf)")]
Shift = Annotated[float, In("[0, inf)")]


class PositiveCell(nnx.Module):
    """z -> φ(Wz + softplus(b)) + c, W_ij = V_ij² >= 0: one positive equilibrium whatever V.

    Args:
        width: of z and b.
        activation: φ, bounded, concave and not falling on [0, ∞) (``Activation.saturation``).
        shift: c, with φ(0) + c > 0.
        gain: the mean of the row sums of W at initialisation.
        rngs: the stream ``params`` draws V, normal numbers.
        dtype: of V.

    Raises:
        ValueError: φ declares no saturation, or c is too small for it.

    References:
        Sittoni and Tudisco, "Subhomogeneous Deep Equilibrium Models", arXiv 2403.00720.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, PositiveCell
        >>> cell = PositiveCell(8, activations.get("tanh"), gain=1e4, rngs=nnx.Rngs(0))
        >>> float(DEQ(cell)(jnp.ones((4, 8))).stats.fraction_converged)
        1.0
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        shift: float = 1.01,
        gain: float = 0.5,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.activation, self.shift = activation, fitted("shift", shift, Shift)
        self.guarantee()  # refuses what has none
        self.V = nnx.Param(
            normal(rngs, (width, width), (fitted("gain", gain, Gain) / width) ** 0.5, dtype)
        )

    def __call__(
        self, z: Float[Array, "batch width"], b: Float[Array, "batch width"]
    ) -> Float[Array, "batch width"]:
        """φ(Wz + softplus(b)) + c for every example."""
        weight = jnp.square(self.V[...])
        return self.activation(z @ weight.T + nnx.softplus(b)) + self.shift

    def start(self, b: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        """One, a positive state."""
        return jnp.ones_like(b)

    def guarantee(self, *place: str) -> Subhomogeneous:
        """One positive equilibrium, whatever V.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
            ValueError: φ declares no saturation, or c is too small for it.
        """
        return Subhomogeneous(self.activation, self.shift, place)
