"""A monotone equilibrium of images, at one scale or several: no bound on its kernels is needed."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.conv_monotone_cell import ConvMonotoneCell
from deqzoo.nn.image_model import ImageModel
from deqzoo.nn.scales import channels_of, shapes_of

__all__ = ["ConvMonDEQ"]


class ConvMonDEQ(ImageModel):
    """v = ψ(Wv + u), z = φ(Wv + u), outputs = D means(z) + d, W = (1 - m)I - AᵀA + B - Bᵀ.

    ψ is the sector of φ, W that of ``ConvMonotoneCell``: zero-padded convolutions at one scale, and
    between neighbouring ones of several. u = S * x + s at the finest scale and a constant at the
    others. Whatever the parameters become, every image has exactly one equilibrium.

    Args:
        spec: of one example, an image (height, width, channels) or the shape of it.
        outputs: classes or targets.
        activation: φ, an activation that is not affine, or its recipe.
        channels: of every scale, the finest first; each has half the height and width of the last.
        taps: of the convolutions along height and width.
        margin: m > 0: the smaller, the larger the kernels may be and the longer the solve.
        stride: of S; by default the least that leaves the shorter side of v_0 at most 16 pixels.
        pool: windows along a side, of every scale.
        solver: a solver or its recipe; "auto" is Peaceman-Rachford splitting here, whose linear
            equations GMRES solves: their products with W count as steps.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Winston and Kolter, "Monotone operator equilibrium networks", arXiv 2006.08591.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.conv_mondeq import ConvMonDEQ
        >>> model = ConvMonDEQ((8, 8, 1), 10, activation="gelu", rngs=nnx.Rngs(0))
        >>> logits, solution = model(jnp.ones((5, 8, 8, 1)))
        >>> logits.shape, float(solution.stats.fraction_converged)
        ((5, 10), 1.0)
    """

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "relu",
        channels: tuple[int, ...] = (16,),
        taps: int = 3,
        margin: float = 0.5,
        stride: int | None = None,
        pool: int = 7,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        channels = channels_of(channels)

        def cell(activation: Activation, size: tuple[int, int]) -> ConvMonotoneCell:
            del size
            return ConvMonotoneCell(
                channels, activation, taps=taps, margin=margin, rngs=rngs, dtype=dtype
            )

        super().__init__(
            spec,
            outputs,
            activation=activation,
            cell=cell,
            injected=channels[0],
            states=lambda size: shapes_of(size, channels),
            stride=stride,
            pool=pool,
            solver=solver,
            adjoint=adjoint,
            rngs=rngs,
            dtype=dtype,
        )

    def head(self, z: Any, injected: Any) -> Float[Array, "batch outputs"]:
        """D means(φ(Wv + u)) + d, v = z."""
        return super().head(self.deq.cell.output(z, injected), injected)
