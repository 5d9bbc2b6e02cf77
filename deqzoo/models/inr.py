"""A picture as a function of the place: an equilibrium for every point."""

from __future__ import annotations

import math
from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec, one_array
from deqzoo.nn.draws import normal
from deqzoo.nn.flat_model import FlatModel
from deqzoo.nn.wide_cell import WideCell
from deqzoo.settings import In, fitted

__all__ = ["INR"]

_Features = Annotated[int, In("[1, inf)")]
_Frequency = Annotated[float, In("(0, inf)")]


class INR(FlatModel):
    """z = φ(Wz + U(sin Fx, cos Fx) + b), outputs = Az + c, at every place x by itself.

    An implicit neural representation: the outputs are colours, or whatever is known at places.

    Args:
        spec: of one example, the coordinates of a place or the shape of them.
        outputs: what is known there.
        activation: φ, an activation or its recipe.
        width: of z.
        features: rows of F.
        frequency: deviation of the entries of F at initialisation, in radians per unit of x; F is
            learned.
        s_w: scale of W; by default 0.4/L, so that L‖W‖₂ is near 0.8 for every activation.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", arXiv
        2006.09661, for φ = sin; Tancik et al., "Fourier Features Let Networks Learn High Frequency
        Functions in Low Dimensional Domains", arXiv 2006.10739, for what is put in, of fixed F.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.inr import INR
        >>> colours, _ = INR((2,), 3, rngs=nnx.Rngs(0))(jnp.ones((5, 2)))
        >>> colours.shape
        (5, 3)
    """

    example_task = "picture(size=12)"

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "sin",
        width: int = 64,
        features: int = 64,
        frequency: float = 20.0,
        s_w: float | None = None,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        def cell(activation: Activation) -> WideCell:
            return WideCell(width, activation, s_w=s_w, rngs=rngs, dtype=dtype)

        features = fitted("features", features, _Features)
        frequency = fitted("frequency", frequency, _Frequency)
        super().__init__(
            (2 * features,),
            outputs,
            activation=activation,
            cell=cell,
            injected=width,
            width=width,
            solver=solver,
            adjoint=adjoint,
            rngs=rngs,
            dtype=dtype,
        )
        places = math.prod(one_array(spec).shape)
        self.F = nnx.Param(normal(rngs, (features, places), frequency, dtype))

    def stem(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch injected"]:
        """U(sin Fx, cos Fx) + b."""
        turned = x.reshape(x.shape[0], -1) @ self.F[...].T
        return self.inputs(jnp.concatenate([jnp.sin(turned), jnp.cos(turned)], axis=1))

    def ends(self) -> None:
        """The stem is not affine."""
        return
