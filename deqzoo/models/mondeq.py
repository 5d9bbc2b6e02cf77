"""A monotone equilibrium classifier of any activation: no bound on its weights is needed."""

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
from deqzoo.nn.monotone_cell import MonotoneCell

__all__ = ["MonDEQ"]


class MonDEQ(Model):
    """v = ψ(Wv + Ux + c), z = φ(Wv + Ux + c), outputs = Dz + d, W = (1 - m)I - AᵀA + B - Bᵀ.

    ψ is the sector of φ (``deqzoo.activation.sector``), W that of ``MonotoneCell``: whatever the
    parameters become, every input has exactly one equilibrium. A φ with slopes (0, 1) is its own
    sector, and z = v.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, an activation that is not affine, or its recipe.
        width: of v and z.
        margin: m in (0, 1].
        solver: a solver or its recipe; "auto" is Peaceman-Rachford splitting here.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Winston and Kolter, "Monotone operator equilibrium networks", arXiv 2006.08591.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.mondeq import MonDEQ
        >>> model = MonDEQ((8, 8, 1), 10, activation="gelu", rngs=nnx.Rngs(0))
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
        width: int = 64,
        margin: float = 0.1,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        inputs = math.prod(one_array(spec).shape)
        self.inputs = nnx.Linear(inputs, width, param_dtype=dtype, rngs=rngs)
        cell = MonotoneCell(width, self.activation, margin=margin, rngs=rngs, dtype=dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch width"]:
        """Ux + c."""
        return self.inputs(x.reshape(x.shape[0], -1))

    def head(
        self, z: Float[Array, "batch width"], injected: Float[Array, "batch width"]
    ) -> Float[Array, "batch outputs"]:
        """Logits of φ(Wv + Ux + c), v = z."""
        return self.outputs(self.deq.cell.output(z, injected))

    def guarantees(self) -> tuple[Guarantee, ...]:
        """I - W is m-strongly monotone."""
        return (self.deq.cell.guarantee("deq", "cell"),)
