"""The cell z -> φ(K * z + b) on images that contracts."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core import convolution_norm
from deqzoo.nn.convolve import convolve
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.conv_contraction import ConvContraction
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, fitted

_Channels = Annotated[int, In("[1, inf)")]
_Taps = Annotated[int, In("[1, inf)")]
_Gain = Annotated[float, In("(0, 1)")]


class ContractiveConvCell(nnx.Module):
    """z -> φ(K * z + b), a convolution with zero padding; K normal, scaled to L‖K‖₂ = ``gain``.

    Args:
        channels: of z and b.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        taps: of K along height and width.
        gain: the bound at initialisation, in (0, 1).
        rngs: the stream ``params`` draws K.
        dtype: of K.

    Raises:
        ValueError: channels, taps or gain are none of these.

    References:
        Sedghi, Gupta and Long, "The singular values of convolutional layers", arXiv 1805.10408.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, ContractiveConvCell
        >>> deq = DEQ(ContractiveConvCell(4, activations.get("gelu"), rngs=nnx.Rngs(0)))
        >>> deq(jnp.ones((2, 6, 5, 4))).value.shape
        (2, 6, 5, 4)
    """

    def __init__(
        self,
        channels: int,
        activation: Activation,
        *,
        taps: int = 3,
        gain: float = 0.8,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        channels, taps = fitted("channels", channels, _Channels), fitted("taps", taps, _Taps)
        gain = fitted("gain", gain, _Gain)
        self.activation = activation
        self.phi = Nonlinearity(activation, channels, dtype)
        # Its norm would be near 2: every draw is scaled down.
        deviation = 1 / (taps * channels**0.5) / activation.lipschitz
        draw = normal(rngs, (taps, taps, channels, channels), deviation, dtype)
        self.K = nnx.Param(convolution_norm.shrink_to(draw, gain / activation.lipschitz))

    def __call__(
        self, z: Float[Array, "batch height width c"], b: Float[Array, "batch height width c"]
    ) -> Float[Array, "batch height width c"]:
        """φ(K * z + b) for every example."""
        return self.phi(convolve(z, self.K[...]) + b)

    def start(
        self, b: Float[Array, "batch height width c"]
    ) -> Float[Array, "batch height width c"]:
        """Zero."""
        return jnp.zeros_like(b)

    def guarantee(self, *place: str) -> ConvContraction:
        """L‖K‖₂ < 1 keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return ConvContraction(self.activation, (*place, "K"))
