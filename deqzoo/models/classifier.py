"""A practical classifier on the wide cell: affine stem, equilibrium, affine head."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.flat_model import FlatModel
from deqzoo.nn.wide_cell import WideCell

__all__ = ["Classifier"]


class Classifier(FlatModel):
    """z = φ(Wz + Ux + b), outputs = Az + c.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, an activation or its recipe.
        width: m.
        s_w: scale of W; by default 0.4/L, so that L‖W‖₂ is near 0.8 for every activation.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.classifier import Classifier
        >>> model = Classifier((8, 8, 1), 10, activation="gelu", rngs=nnx.Rngs(0))
        >>> logits, _ = model(jnp.ones((5, 8, 8, 1)))
        >>> logits.shape
        (5, 10)
    """

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "gelu",
        width: int = 128,
        s_w: float | None = None,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        def cell(activation: Activation) -> WideCell:
            return WideCell(width, activation, s_w=s_w, rngs=rngs, dtype=dtype)

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
