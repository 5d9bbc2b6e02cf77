"""The convolutional cell of the zoo: a residual block with group normalisation."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.group_norm import GroupNorm
from deqzoo.nn.nonlinearity import Nonlinearity

_STD = 0.01


class ConvCell(nnx.Module):
    """z -> N₃ φ(z + N₂(b + K₂ * N₁ φ(K₁ * z))), N group norms, K 3x3 convolutions without bias.

    Kernels are drawn from N(0, 0.01²), so that at initialisation the block hardly depends on z
    next to its input b of size one, and the last norm shrinks the sum of z and the block. In
    practice that contracts; it is not guaranteed, at initialisation or after training: no bound on
    the kernels makes a group norm nonexpansive. Look at ``Solution.stats``, and train with a
    Jacobian regulariser if the residual rises.

    Args:
        channels: of z and b.
        hidden: channels between the convolutions.
        activation: φ.
        groups: of every norm; a divisor of both numbers of channels.
        kernel_size: of both convolutions.
        rngs: the stream ``params`` draws the kernels.
        dtype: of the parameters.

    Raises:
        ValueError: groups does not divide channels or hidden.

    References:
        Bai, Koltun and Kolter, "Multiscale Deep Equilibrium Models", arXiv 2006.08656, has this
        residual block; Kolter, Duvenaud and Johnson, "Deep Implicit Layers" tutorial,
        NeurIPS 2020, chapter 4, this cell.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, ConvCell
        >>> relu = activations.get("relu")
        >>> cell = ConvCell(8, 16, activation=relu, groups=4, rngs=nnx.Rngs(0))
        >>> DEQ(cell)(jnp.ones((2, 6, 6, 8))).value.shape
        (2, 6, 6, 8)
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        activation: Activation,
        groups: int = 8,
        kernel_size: tuple[int, int] = (3, 3),
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        def convolution(inputs: int, outputs: int) -> nnx.Conv:
            return nnx.Conv(
                inputs,
                outputs,
                kernel_size,
                use_bias=False,
                param_dtype=dtype,
                kernel_init=nnx.initializers.normal(_STD),
                rngs=rngs,
            )

        self.activation = activation
        self.inner_phi = Nonlinearity(activation, hidden, dtype)
        self.outer_phi = Nonlinearity(activation, channels, dtype)
        self.widen, self.narrow = convolution(channels, hidden), convolution(hidden, channels)
        self.inner = GroupNorm(hidden, groups, dtype=dtype)
        self.block = GroupNorm(channels, groups, dtype=dtype)
        self.outer = GroupNorm(channels, groups, dtype=dtype)

    def __call__(
        self, z: Float[Array, "batch height width c"], b: Float[Array, "batch height width c"]
    ) -> Float[Array, "batch height width c"]:
        """The residual block, for every example by itself."""
        hidden = self.inner(self.inner_phi(self.widen(z)))
        return self.outer(self.outer_phi(z + self.block(b + self.narrow(hidden))))

    def start(
        self, b: Float[Array, "batch height width c"]
    ) -> Float[Array, "batch height width c"]:
        """Zero."""
        return jnp.zeros_like(b)
