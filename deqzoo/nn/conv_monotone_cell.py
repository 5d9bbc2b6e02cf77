"""The cell of a monotone equilibrium model of images, at one scale or at several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable
from deqzoo.nn import draws
from deqzoo.nn.convolve import convolve
from deqzoo.nn.guarantees.conv_monotone import ConvMonotone
from deqzoo.nn.monotone_cell import Margin
from deqzoo.nn.scales import FACTOR, Images, channels_of, zeros
from deqzoo.nn.sector_cell import SectorCell
from deqzoo.settings import In, fitted

_Taps = Annotated[int, In("[1, inf)")]

Kernels = Mapping[str, Float[Array, "rows columns inputs outputs"]]


class ConvMonotoneCell(SectorCell):
    """v -> ψ(Wv + u), W = (1 - m)I - AᵀA + B - Bᵀ, ψ the sector of φ, v an image a scale.

    (Av)_i = A_ii * v_i + A_(i,i-1) * v_(i-1) with convolutions of stride 1 and 2, zero padding,
    and B likewise; Aᵀ and Bᵀ are the transposes of these very maps, padding included. So I - W is
    m-strongly monotone for all A and B and images of every size, and the equilibrium exists and is
    unique. u is what the cell takes at the finest scale, and a constant of every channel at the
    others.

    Args:
        channels: of every scale, the finest first; each has half the height and width of the last.
        activation: φ, not affine, with its slope bounds, which hold while a learnable one is
            learned; at several scales they share what is learned.
        taps: of the convolutions along height and width.
        margin: m > 0: the smaller, the larger the weights may be and the longer the solve.
        rngs: the stream ``params`` draws A and B, entries of variance 1/(3 n), n of them a unit.
        dtype: of the parameters.

    Raises:
        ValueError: φ is affine, or learnable by unit where there are several scales, m is not
            positive, or channels or taps are no whole numbers.

    References:
        Winston and Kolter, "Monotone operator equilibrium networks", arXiv 2006.08591, has such
        models with periodic images, whose transposes and resolvents Fourier transforms give.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, ConvMonotoneCell
        >>> deq = DEQ(ConvMonotoneCell((4, 6), activations.get("gelu"), rngs=nnx.Rngs(0)))
        >>> [v.shape for v in deq(jnp.ones((2, 7, 5, 4))).value]
        [(2, 7, 5, 4), (2, 4, 3, 6)]
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        activation: Activation,
        *,
        taps: int = 3,
        margin: float = 0.5,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.channels = channels_of(channels)
        finest, *coarser = self.channels
        if isinstance(activation, Learnable) and activation.per_unit and coarser:
            raise ValueError(
                f"{activation} learns every unit by itself, and the scales have channels of "
                "different numbers: use one scale, or per_unit=False"
            )
        super().__init__(activation, finest, dtype)
        self.margin = fitted("margin", margin, Margin)
        shapes = _shapes(self.channels, fitted("taps", taps, _Taps))

        def draw() -> dict[str, nnx.Param]:
            drawn = draws.kernels(rngs.params(), shapes, jnp.dtype(dtype))
            return {name: nnx.Param(K * 3**-0.5) for name, K in drawn.items()}

        self.A, self.B = nnx.Dict(draw()), nnx.Dict(draw())
        coarse = {str(i): jnp.zeros(c, dtype) for i, c in enumerate(self.channels) if i > 0}
        self.b = nnx.Dict({name: nnx.Param(zero) for name, zero in coarse.items()})

    def affine(self, v: Images, x: Float[Array, "batch height width c"], weight: None) -> Images:
        """Wv + u, u_0 = x."""
        del weight
        A, B = ({name: K[...] for name, K in each.items()} for each in (self.A, self.B))
        image, back = jax.vjp(lambda v: _down(A, v), v)  # linear: back is its transpose
        forth, turned = jax.vjp(lambda v: _down(B, v), v)
        constants = [x, *(self.b[str(i)][...][None, None, None] for i in range(1, len(v)))]
        return tuple(
            (1 - self.margin) * each - square + plus - minus + u
            for each, square, plus, minus, u in zip(
                v, back(image)[0], forth, turned(v)[0], constants, strict=True
            )
        )

    def start(self, x: Float[Array, "batch height width c"]) -> Images:
        """Zero."""
        return zeros(x, self.channels)

    def output(self, v: Images, x: Float[Array, "batch height width c"]) -> Images:
        """Z = φ(Wv + u)."""
        return jax.tree.map(self.phi, self.affine(v, x, None))

    def guarantee(self, *place: str) -> ConvMonotone:
        """The equilibrium is unique whatever A and B.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return ConvMonotone(self.activation, self.margin, place, self.slopes)


def _down(K: Kernels, v: Images) -> Images:
    """Every scale from itself and the next finer one."""
    found = []
    for i, each in enumerate(v):
        image = convolve(each, K[_name(i, i)])
        if i > 0:
            image = image + convolve(v[i - 1], K[_name(i, i - 1)], FACTOR)
        found.append(image)
    return tuple(found)


def _shapes(channels: tuple[int, ...], taps: int) -> draws.Shapes:
    return tuple(
        (_name(i, j), (taps, taps, channels[j], channels[i]))
        for i in range(len(channels))
        for j in (i - 1, i)
        if j >= 0
    )


def _name(to: int, source: int) -> str:
    return f"{source}_to_{to}"
