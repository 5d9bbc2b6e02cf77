"""A monotone equilibrium classifier of any activation: no bound on its weights is needed."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.flat_model import FlatModel
from deqzoo.nn.monotone_cell import MonotoneCell

__all__ = ["MonDEQ"]


class MonDEQ(FlatModel):
    """v = ψ(Wv + Ux + c), z = φ(Wv + Ux + c), outputs = Dz + d, W = (1 - m)I - AᵀA + B - Bᵀ.

    ψ is the sector of φ (``deqzoo.activation.sector``), W that of ``MonotoneCell``: whatever the
    parameters become, every input has exactly one equilibrium. A φ with slopes (0, 1) is its own
    sector, and z = v.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, an activation that is not affine, or its recipe.
        width: of v and z.
        margin: m > 0.
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
        def cell(activation: Activation) -> MonotoneCell:
            return MonotoneCell(width, activation, margin=margin, rngs=rngs, dtype=dtype)

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

    def features(
        self, z: Float[Array, "batch width"], injected: Float[Array, "batch width"]
    ) -> Float[Array, "batch width"]:
        """φ(Wv + Ux + c), v = z."""
        return self.deq.cell.output(z, injected)
