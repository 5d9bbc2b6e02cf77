"""A convolutional equilibrium model that is well posed by the norm of its convolution."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.contractive_conv_cell import ContractiveConvCell
from deqzoo.nn.image_model import ImageModel

__all__ = ["ConvDEQ"]


class ConvDEQ(ImageModel):
    """z = φ(K * z + S * x + s), outputs = A means(z) + a, L‖K‖₂ < 1.

    K * and S * are convolutions with zero padding; means are taken over pool x pool windows.

    Args:
        spec: of one example, an image (height, width, channels) or the shape of it.
        outputs: classes or targets.
        activation: φ, an activation or its recipe.
        channels: of z.
        taps: of K along height and width.
        stride: of S; by default the least that leaves the shorter side of z at most 16 pixels.
        pool: windows along a side.
        gain: L‖K‖₂ at initialisation, in (0, 1).
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Banach's fixed-point theorem; Sedghi, Gupta and Long, "The singular values of convolutional
        layers", arXiv 1805.10408.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.convdeq import ConvDEQ
        >>> model = ConvDEQ((8, 8, 1), 10, activation="gelu", rngs=nnx.Rngs(0))
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
        channels: int = 24,
        taps: int = 3,
        stride: int | None = None,
        pool: int = 7,
        gain: float = 0.8,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        def cell(activation: Activation, size: tuple[int, int]) -> ContractiveConvCell:
            del size
            return ContractiveConvCell(
                channels, activation, taps=taps, gain=gain, rngs=rngs, dtype=dtype
            )

        super().__init__(
            spec,
            outputs,
            activation=activation,
            cell=cell,
            injected=channels,
            states=lambda size: ((*size, channels),),
            stride=stride,
            pool=pool,
            solver=solver,
            adjoint=adjoint,
            rngs=rngs,
            dtype=dtype,
        )
