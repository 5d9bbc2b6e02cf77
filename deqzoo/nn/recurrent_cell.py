"""The cell of a recurrence: a sweep through a sequence; its fixed point is that of all steps."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.guarantees.sequence_contraction import SequenceContraction
from deqzoo.nn.implicit_cell import Gain
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import fitted


class Gated(NamedTuple):
    """What a sequence gives to its equilibrium.

    Attributes:
        positions: u.
        gates: s, in [-1, 1].
    """

    positions: Float[Array, "batch length width"]
    gates: Float[Array, "batch length width"]


class RecurrentCell(nnx.Module):
    """f(z)_t = φ(Wz_t + s_t ⊙ Vf(z)_{t-1} + u_t), f(z)_0 = 0.

    A fixed point is z_t = φ(Wz_t + s_t ⊙ Vz_{t-1} + u_t): every step an equilibrium of its own. A
    sweep takes what it has found of the last position already, so that the number of sweeps does
    not grow with the length as it does where all positions move at once.

    Args:
        width: of the state of a position.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        gain: L‖W‖₂ at initialisation, in (0, 1), at most.
        rngs: the stream ``params`` draws W and V, which is orthogonal.
        dtype: of W and V.

    Raises:
        ValueError: gain is out of range.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn.recurrent_cell import Gated, RecurrentCell
        >>> cell = RecurrentCell(4, activations.get("tanh"), rngs=nnx.Rngs(0))
        >>> x = Gated(jnp.ones((1, 3, 4)), jnp.ones((1, 3, 4)))
        >>> cell(cell.start(x), x).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        gain: float = 0.5,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.activation = activation
        self.phi = Nonlinearity(activation, width, dtype)
        W, V = (normal(rngs, (width, width), width**-0.5, dtype) for _ in "WV")
        limited = SequenceContraction(activation, ("W",)).rescale(
            {"W": W}, fitted("gain", gain, Gain)
        )
        self.W, self.V = nnx.Param(limited["W"]), nnx.Param(jnp.linalg.qr(V)[0])

    def __call__(
        self, z: Float[Array, "batch length width"], x: Gated
    ) -> Float[Array, "batch length width"]:
        """One sweep."""
        V = self.V[...]

        def step(before: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            driven, gate = at
            now = self.phi(driven + gate * (before @ V.T))
            return now, now

        driven = z @ self.W[...].T + x.positions
        inputs = jnp.swapaxes(driven, 0, 1), jnp.swapaxes(x.gates, 0, 1)
        return jnp.swapaxes(lax.scan(step, jnp.zeros_like(z[:, 0]), inputs)[1], 0, 1)

    def start(self, x: Gated) -> Float[Array, "batch length width"]:
        """Zero."""
        return jnp.zeros_like(x.positions)

    def guarantee(self, *place: str) -> Guarantee:
        """The bound of W that keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return SequenceContraction(self.activation, (*place, "W"))
