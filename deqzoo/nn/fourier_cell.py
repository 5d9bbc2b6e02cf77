"""The cell z -> φ(Kz + u) on fields that contracts, K a Fourier multiplier."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core.fourier_multiplier import multiplied, waves
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.fourier_contraction import FourierContraction
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, fitted

_Channels = Annotated[int, In("[1, inf)")]
_Modes = Annotated[int, In("[1, inf)")]
_Gain = Annotated[float, In("(0, 1)")]


class FourierCell(nnx.Module):
    """z -> φ(Kz + u), (Kz)^(k) = (A_k + iB_k)z^(k) at low waves k, Pz^(k) at the others.

    K is what every grid of more than 2m points each way takes; P is the first entry of A.

    Args:
        channels: c of z and u.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        modes: m >= 1: waves with |k₁|, |k₂| <= m are low.
        gain: L‖K‖₂ at initialisation, in (0, 1).
        rngs: the stream ``params`` draws A and B.
        dtype: of A and B.

    Raises:
        ValueError: channels, modes or gain are none of these.

    References:
        Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", arXiv
        2010.08895, has such layers, P at all waves; with a bound of the norm: deqzoo.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, FourierCell
        >>> deq = DEQ(FourierCell(4, activations.get("gelu"), modes=2, rngs=nnx.Rngs(0)))
        >>> deq(jnp.ones((2, 6, 5, 4))).value.shape
        (2, 6, 5, 4)
    """

    def __init__(
        self,
        channels: int,
        activation: Activation,
        *,
        modes: int = 6,
        gain: float = 0.9,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        channels, modes = fitted("channels", channels, _Channels), fitted("modes", modes, _Modes)
        gain = fitted("gain", gain, _Gain)
        self.activation = activation
        self.phi = Nonlinearity(activation, channels, dtype)
        # Its norms would be near 2: every draw is scaled down.
        deviation, count = 1 / channels**0.5 / activation.lipschitz, waves(modes)
        draw = normal(rngs, (2 + 2 * count, channels, channels), deviation, dtype)
        drawn = {"cell": {"A": draw[: 2 + count], "B": draw[2 + count :]}}
        scaled = self.guarantee("cell").rescale(drawn, gain)["cell"]
        self.A, self.B = nnx.Param(scaled["A"]), nnx.Param(scaled["B"])

    def __call__(
        self, z: Float[Array, "batch height width c"], u: Float[Array, "batch height width c"]
    ) -> Float[Array, "batch height width c"]:
        """φ(Kz + u) for every example."""
        return self.phi(multiplied(z, self.A[...], self.B[...]) + u)

    def start(
        self, u: Float[Array, "batch height width c"]
    ) -> Float[Array, "batch height width c"]:
        """Zero."""
        return jnp.zeros_like(u)

    def guarantee(self, *place: str) -> FourierContraction:
        """L‖K‖₂ < 1 keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return FourierContraction(self.activation, place)
