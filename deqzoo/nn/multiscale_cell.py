"""A cell of images at several scales that contracts by the norms of its convolutions."""

from __future__ import annotations

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core import row_sums
from deqzoo.nn import draws
from deqzoo.nn.convolve import convolve
from deqzoo.nn.guarantee import Limit
from deqzoo.nn.guarantees.block_perron import BlockPerron, Link, block_norms
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.nn.scales import FACTOR, Images, channels_of, spread, zeros
from deqzoo.settings import In, fitted

_Taps = Annotated[int, In("[1, inf)")]
_Gain = Annotated[float, In("(0, 1)")]


class MultiscaleCell(nnx.Module):
    """z_i -> φ(Σ_j K_ij z_j + b_i), |i - j| <= 1, z_i of half the height and width of z_(i-1).

    K_ii is a convolution, K_ij from a finer scale one of stride 2, and K_ij from a coarser scale a
    matrix for every pixel, which then fills a square of 2 x 2 pixels. b_0 is what the cell takes;
    the other b_i are constants of every channel, so that all a coarser scale knows of the input it
    knows by its equilibrium with the finer one.

    Args:
        channels: of every scale, the finest first.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        taps: of the convolutions along height and width.
        gain: L ρ(N) at initialisation, in (0, 1), N the norms of the K_ij.
        rngs: the stream ``params`` draws the kernels.
        dtype: of the parameters.

    Raises:
        ValueError: channels, taps or gain are none of these.

    References:
        Bai, Koltun and Kolter, "Multiscale Deep Equilibrium Models", arXiv 2006.08656, has such
        states, and residual blocks without a guarantee in their place.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, MultiscaleCell
        >>> deq = DEQ(MultiscaleCell((4, 6), activations.get("gelu"), rngs=nnx.Rngs(0)))
        >>> [z.shape for z in deq(jnp.ones((2, 7, 5, 4))).value]
        [(2, 7, 5, 4), (2, 4, 3, 6)]
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        activation: Activation,
        *,
        taps: int = 3,
        gain: float = 0.8,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.channels = channels_of(channels)
        taps, gain = fitted("taps", taps, _Taps), fitted("gain", gain, _Gain)
        self.activation = activation
        self.phis = nnx.List([Nonlinearity(activation, c, dtype) for c in self.channels])
        aim = gain / activation.lipschitz
        drawn = _drawn(rngs.params(), self.channels, taps, aim, jnp.dtype(dtype))
        self.K = nnx.Dict({name: nnx.Param(K) for name, K in drawn.items()})
        coarse = {str(i): jnp.zeros(c, dtype) for i, c in enumerate(self.channels) if i > 0}
        self.b = nnx.Dict({name: nnx.Param(zero) for name, zero in coarse.items()})

    def __call__(self, z: Images, b: Float[Array, "batch height width channels"]) -> Images:
        """All scales at once."""
        return tuple(phi(self._sum(i, z, b)) for i, phi in enumerate(self.phis))

    def _sum(self, i: int, z: Images, b: Array) -> Array:
        total = b if i == 0 else self.b[str(i)][...][None, None, None]
        for to, j in _pairs(len(self.channels)):
            if to == i:
                total = total + self._moved(z[j], self.K[_name(i, j)][...], i, j, z[i].shape[1:3])
        return total

    def _moved(self, z: Array, K: Array, i: int, j: int, size: tuple[int, ...]) -> Array:
        if j <= i:
            return convolve(z, K, FACTOR ** (i - j))
        return spread(convolve(z, K), *size)

    def start(self, b: Float[Array, "batch height width channels"]) -> Images:
        """Zero."""
        return zeros(b, self.channels)

    def guarantee(self, *place: str) -> BlockPerron:
        """The bound of the K_ij that keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return BlockPerron(self.activation, _links(len(self.channels), (*place, "K")))


@functools.partial(jax.jit, static_argnums=(1, 2, 4))
def _drawn(
    key: Array, channels: tuple[int, ...], taps: int, aim: Limit, dtype: jnp.dtype
) -> dict[str, Array]:
    """Kernels with ρ(N) = aim."""
    shapes = {}
    for to, source in _pairs(len(channels)):
        size = 1 if source > to else taps
        shapes[_name(to, source)] = (size, size, channels[source], channels[to])
    # Of norms of about one size; their bound brings them to the aim.
    drawn = draws.kernels(key, tuple(shapes.items()), dtype)
    norms = block_norms(_links(len(channels), ()), drawn)
    rho = row_sums.largest_sum(norms, row_sums.perron_vector(norms))
    ratio = aim * (1 - 64 * float(jnp.finfo(rho.dtype).eps)) / rho
    return {name: (K * ratio).astype(dtype) for name, K in drawn.items()}


def _pairs(scales: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(scales) for j in range(scales) if abs(i - j) <= 1]


def _links(scales: int, place: tuple[str, ...]) -> tuple[Link, ...]:
    links = [
        Link(
            i,
            j,
            (*place, _name(i, j)),
            stride=FACTOR if j < i else 1,
            repeats=FACTOR if j > i else 1,
        )
        for i, j in _pairs(scales)
    ]
    return tuple(links)


def _name(to: int, source: int) -> str:
    return f"{source}_to_{to}"
