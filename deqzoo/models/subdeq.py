"""An equilibrium classifier of nonnegative weights of any size."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.flat_model import FlatModel
from deqzoo.nn.positive_cell import PositiveCell

__all__ = ["SubDEQ"]


class SubDEQ(FlatModel):
    """z = φ(Wz + softplus(Ux + b)) + c, W >= 0 entry by entry, outputs = Az + d.

    A contraction in Thomson's metric of positive vectors: no norm of W is bounded.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, bounded, concave and not falling on [0, ∞), or its recipe.
        width: of z.
        shift: c, with φ(0) + c > 0.
        gain: the mean of the row sums of W at initialisation.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Sittoni and Tudisco, "Subhomogeneous Deep Equilibrium Models", arXiv 2403.00720.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.subdeq import SubDEQ
        >>> model = SubDEQ((8, 8, 1), 10, activation="erf", rngs=nnx.Rngs(0))
        >>> logits, _ = model(jnp.ones((5, 8, 8, 1)))
        >>> logits.shape
        (5, 10)
    """

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "tanh",
        width: int = 64,
        shift: float = 1.01,
        gain: float = 0.5,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        def cell(activation: Activation) -> PositiveCell:
            return PositiveCell(width, activation, shift=shift, gain=gain, rngs=rngs, dtype=dtype)

        super().__init__(
            spec,
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
