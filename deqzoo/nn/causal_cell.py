"""The cell z -> φ(Wz + concat_h(A_h z V_h) + u) on the positions of a sequence."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.causal_weights import mixed
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.guarantees.causal_contraction import CausalContraction
from deqzoo.nn.implicit_cell import Gain
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import fitted


class Attended(NamedTuple):
    """What a sequence gives to its equilibrium.

    Attributes:
        positions: u.
        weights: A_h, rows of convex weights.
    """

    positions: Float[Array, "batch length width"]
    weights: Float[Array, "batch heads length length"]


class CausalCell(nnx.Module):
    """z_t -> φ(Wz_t + concat_h(V_hᵀ Σ_s A_h[t, s] z_s) + u_t), A_h not of z.

    Args:
        width: of the state of a position, a multiple of ``heads``.
        heads: of attention, each with width/heads values.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        length: the longest sequence.
        gain: L(‖W‖₂ + √Σ‖V_h‖₂²) at initialisation, in (0, 1), at most.
        rngs: the stream ``params`` draws W and V.
        dtype: of W and V.

    Raises:
        ValueError: gain is out of range, or the heads do not share the width evenly.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn.causal_cell import Attended, CausalCell
        >>> cell = CausalCell(4, 2, activations.get("tanh"), length=3, rngs=nnx.Rngs(0))
        >>> x = Attended(jnp.ones((1, 3, 4)), jnp.stack([jnp.eye(3)[None]] * 2, axis=1))
        >>> cell(cell.start(x), x).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        activation: Activation,
        *,
        length: int,
        gain: float = 0.9,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        if heads < 1 or width % heads:
            raise ValueError(
                f"width must be a multiple of heads, got width={width} and heads={heads}"
            )
        self.activation, self.length = activation, length
        self.phi = Nonlinearity(activation, width, dtype)
        W = normal(rngs, (width, width), width**-0.5, dtype)
        V = normal(rngs, (heads, width, width // heads), (width * heads) ** -0.5, dtype)
        own = CausalContraction(activation, ("W",), ("V",), length)
        limited = own.rescale({"W": W, "V": V}, fitted("gain", gain, Gain))
        self.W, self.V = nnx.Param(limited["W"]), nnx.Param(limited["V"])

    def __call__(
        self, z: Float[Array, "batch length width"], x: Attended
    ) -> Float[Array, "batch length width"]:
        """φ(Wz + concat_h(A_h z V_h) + u)."""
        return self.phi(z @ self.W[...].T + mixed(x.weights, z, self.V[...]) + x.positions)

    def start(self, x: Attended) -> Float[Array, "batch length width"]:
        """Zero."""
        return jnp.zeros_like(x.positions)

    def guarantee(self, *place: str) -> Guarantee:
        """The bound of W and V that keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return CausalContraction(self.activation, (*place, "W"), (*place, "V"), self.length)
