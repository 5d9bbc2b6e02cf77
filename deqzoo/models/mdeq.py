"""The classic equilibrium of images at several scales: residual blocks, nothing proved."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.image_model import ImageModel
from deqzoo.nn.mdeq_cell import MDEQCell
from deqzoo.nn.scales import channels_of, shapes_of

__all__ = ["MDEQ"]


class MDEQ(ImageModel):
    """z_i = M_i φ(Σ_j F_ij * x_j), outputs = A means(z) + a, x_i the residual block of z_i.

    The finest block takes S * x + s: see ``MDEQCell``. Nothing is proved of it (level C): whether
    an example has converged stands in ``Solution.stats``, and of ``multiscale``, which has such
    states, a theorem holds.

    Args:
        spec: of one example, an image (height, width, channels) or the shape of it.
        outputs: classes or targets.
        activation: φ, an activation or its recipe.
        channels: of every scale, the finest first; each has half the height and width of the last.
        taps: of the convolutions along height and width.
        groups: of every group norm; a divisor of all channels.
        stride: of S; by default the least that leaves the shorter side of z_0 at most 16 pixels.
        pool: windows along a side, of every scale.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Bai, Koltun and Kolter, "Multiscale Deep Equilibrium Models", arXiv 2006.08656.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.mdeq import MDEQ
        >>> model = MDEQ((8, 8, 1), 10, activation="gelu", rngs=nnx.Rngs(0))
        >>> model(jnp.ones((5, 8, 8, 1)))[0].shape, model.guarantees()
        ((5, 10), ())
    """

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "relu",
        channels: tuple[int, ...] = (16, 24, 32),
        taps: int = 3,
        groups: int = 4,
        stride: int | None = None,
        pool: int = 7,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        channels = channels_of(channels)

        def cell(activation: Activation, size: tuple[int, int]) -> MDEQCell:
            del size
            return MDEQCell(channels, activation, taps=taps, groups=groups, rngs=rngs, dtype=dtype)

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

    def guarantees(self) -> tuple[Guarantee, ...]:
        """None."""
        return ()
