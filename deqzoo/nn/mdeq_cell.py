"""The classic cell of images at several scales: residual blocks, normalised, that are fused."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn import draws
from deqzoo.nn.convolve import convolve
from deqzoo.nn.group_norm import GroupNorm
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.nn.scales import FACTOR, Images, channels_of, spread, zeros
from deqzoo.settings import In, fitted

_Taps = Annotated[int, In("[1, inf)")]
_Groups = Annotated[int, In("[1, inf)")]
_GAIN = 0.1  # of the kernels K at the start
_SIZE = 0.2  # of a state at the start, next to an injection of size one


class MDEQCell(nnx.Module):
    """z_i -> M_i φ(Σ_j F_ij * x_j), |i - j| <= 1, x_i = z_i + b_i + K_i * φ(N_i(J_i * z_i)).

    M and N are group norms, J and K convolutions of one scale, F_ii = I, F_ij from a finer scale a
    convolution of stride 2, and from a coarser one a matrix for every pixel, which then fills a
    square of 2 x 2. b_0 is what the cell takes, all other b_i are 0. The factors of the norms M_i
    begin at 0.2 and the K_i a tenth as large as the other kernels: next to an injection of size one
    the cell then hardly depends on z, and most equilibria of most φ are found. Nothing is proved of
    it, then or after training.

    Args:
        channels: of every scale, the finest first.
        activation: φ.
        taps: of the convolutions along height and width.
        groups: of every norm; a divisor of all channels.
        rngs: the stream ``params`` draws the kernels.
        dtype: of the parameters.

    Raises:
        ValueError: channels, taps or groups are none of these.

    References:
        Bai, Koltun and Kolter, "Multiscale Deep Equilibrium Models", arXiv 2006.08656, has such a
        cell, with a norm more in every block and a convolution more after the fusion, and joins
        every two scales.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, MDEQCell
        >>> deq = DEQ(MDEQCell((4, 8), activations.get("relu"), groups=2, rngs=nnx.Rngs(0)))
        >>> [z.shape for z in deq(jnp.ones((2, 7, 5, 4))).value]
        [(2, 7, 5, 4), (2, 4, 3, 8)]
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        activation: Activation,
        *,
        taps: int = 3,
        groups: int = 4,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.channels = channels_of(channels)
        taps, groups = fitted("taps", taps, _Taps), fitted("groups", groups, _Groups)
        self.activation = activation
        drawn = draws.kernels(rngs.params(), _shapes(self.channels, taps), jnp.dtype(dtype))
        gains = {name: _GAIN if name.startswith("K") else 1 for name in drawn}
        self.kernels = nnx.Dict({name: nnx.Param(gains[name] * K) for name, K in drawn.items()})

        def layers(make):
            return nnx.List([make(count) for count in self.channels])

        self.inner_phi = layers(lambda count: Nonlinearity(activation, count, dtype))
        self.outer_phi = layers(lambda count: Nonlinearity(activation, count, dtype))
        self.inner = layers(lambda count: GroupNorm(count, groups, dtype=dtype))
        self.outer = layers(lambda count: GroupNorm(count, groups, dtype=dtype))
        for norm in self.outer:
            norm.scale[...] *= _SIZE

    def __call__(self, z: Images, b: Float[Array, "batch height width channels"]) -> Images:
        """All scales at once."""
        x = [self._block(i, each) for i, each in enumerate(z)]
        x[0] = x[0] + b
        sums = (self._fused(i, x) for i in range(len(x)))
        return tuple(
            norm(phi(total))
            for norm, phi, total in zip(self.outer, self.outer_phi, sums, strict=True)
        )

    def _block(self, i: int, z: Array) -> Array:
        hidden = self.inner[i](convolve(z, self.kernels[f"J{i}"][...]))
        return z + convolve(self.inner_phi[i](hidden), self.kernels[f"K{i}"][...])

    def _fused(self, i: int, x: list[Array]) -> Array:
        total = x[i]
        if i > 0:
            total = total + convolve(x[i - 1], self.kernels[_link(i, i - 1)][...], FACTOR)
        if i + 1 < len(x):
            coarse = convolve(x[i + 1], self.kernels[_link(i, i + 1)][...])
            total = total + spread(coarse, *total.shape[1:3])
        return total

    def start(self, b: Float[Array, "batch height width channels"]) -> Images:
        """Zero."""
        return zeros(b, self.channels)


def _shapes(channels: tuple[int, ...], taps: int) -> draws.Shapes:
    shapes = []
    for i, count in enumerate(channels):
        shapes += [(f"{name}{i}", (taps, taps, count, count)) for name in "JK"]
        if i > 0:
            finer = channels[i - 1]
            shapes += [
                (_link(i, i - 1), (taps, taps, finer, count)),
                (_link(i - 1, i), (1, 1, count, finer)),
            ]
    return tuple(shapes)


def _link(to: int, source: int) -> str:
    return f"F{source}_to_{to}"
