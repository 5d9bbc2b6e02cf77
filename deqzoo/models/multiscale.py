"""An equilibrium of images at several scales, well posed by the norms of its convolutions."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.image_model import ImageModel
from deqzoo.nn.multiscale_cell import MultiscaleCell
from deqzoo.nn.scales import channels_of, shapes_of

__all__ = ["Multiscale"]


class Multiscale(ImageModel):
    """z_i = φ(Σ_j K_ij z_j + b_i), outputs = A means(z) + a, L ρ(N) < 1, N_ij >= ‖K_ij‖₂.

    b_0 = S * x + s, and b_i of the coarser scales are constants: see ``MultiscaleCell``.

    Args:
        spec: of one example, an image (height, width, channels) or the shape of it.
        outputs: classes or targets.
        activation: φ, an activation or its recipe.
        channels: of every scale, the finest first; each has half the height and width of the last.
        taps: of the convolutions along height and width.
        stride: of S; by default the least that leaves the shorter side of z_0 at most 16 pixels.
        pool: windows along a side, of every scale.
        gain: L ρ(N) at initialisation, in (0, 1).
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Bai, Koltun and Kolter, "Multiscale Deep Equilibrium Models", arXiv 2006.08656, has such
        states, and residual blocks without a guarantee in their place.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.multiscale import Multiscale
        >>> model = Multiscale((8, 8, 1), 10, activation="gelu", rngs=nnx.Rngs(0))
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
        channels: tuple[int, ...] = (16, 24, 32),
        taps: int = 3,
        stride: int | None = None,
        pool: int = 7,
        gain: float = 0.8,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        channels = channels_of(channels)

        def cell(activation: Activation, size: tuple[int, int]) -> MultiscaleCell:
            del size
            return MultiscaleCell(
                channels, activation, taps=taps, gain=gain, rngs=rngs, dtype=dtype
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
