"""A practical classifier on the wide cell: affine stem, equilibrium, affine head."""

from __future__ import annotations

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec, one_array
from deqzoo.nn.deq import DEQ
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Model
from deqzoo.nn.wide_cell import WideCell

__all__ = ["Classifier"]


class Classifier(Model):
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
        self.activation = catalog.activations.get(activation)
        inputs = math.prod(one_array(spec).shape)
        self.inputs = nnx.Linear(inputs, width, param_dtype=dtype, rngs=rngs)
        cell = WideCell(width, self.activation, s_w=s_w, rngs=rngs, dtype=dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch width"]:
        """Ux + b."""
        return self.inputs(x.reshape(x.shape[0], -1))

    def head(
        self, z: Float[Array, "batch width"], injected: Float[Array, "batch width"]
    ) -> Float[Array, "batch outputs"]:
        """Logits."""
        return self.outputs(z)

    def guarantees(self) -> tuple[Guarantee, ...]:
        """L‖W‖₂ < 1."""
        return (self.deq.cell.guarantee("deq", "cell"),)
