"""An equilibrium classifier with a prescribed Lipschitz bound of the whole network."""

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
from deqzoo.nn.lipschitz_cell import LipschitzCell
from deqzoo.nn.model import Ends, Model

__all__ = ["LBEN"]


class LBEN(Model):
    """v = ψ(Wv + Ux + b), outputs = Dv + d, |outputs(x) - outputs(x')| <= γ|x - x'|.

    That holds by construction. ψ is the sector of φ (``deqzoo.activation.sector``), W that of
    ``LipschitzCell``. A label whose margin is g stays on the ball of radius g/(√2 γ) around its
    (scaled) input.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, an activation that is not affine, or its recipe.
        width: of v.
        gamma: γ: the smaller, the larger the balls and the smaller the margins.
        margin: m > 0 of the monotone equation.
        solver: a solver or its recipe; "auto" is Peaceman-Rachford splitting here.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Revay, Wang and Manchester, "Lipschitz bounded equilibrium networks", arXiv 2010.01732.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.lben import LBEN
        >>> model = LBEN((8, 8, 1), 10, activation="gelu", gamma=2.0, rngs=nnx.Rngs(0))
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
        gamma: float = 2.0,
        margin: float = 0.1,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        cell = LipschitzCell(
            math.prod(one_array(spec).shape),
            width,
            outputs,
            self.activation,
            gamma=gamma,
            margin=margin,
            rngs=rngs,
            dtype=dtype,
        )
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.b = nnx.Param(jnp.zeros(width, dtype))
        self.d = nnx.Param(jnp.zeros(outputs, dtype))

    def stem(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch width"]:
        """Ux + b."""
        return x.reshape(x.shape[0], -1) @ self.deq.cell.U[...].T + self.b[...][None]

    def head(
        self, z: Float[Array, "batch width"], injected: Float[Array, "batch width"]
    ) -> Float[Array, "batch outputs"]:
        """Dv + d, v = z."""
        return z @ self.deq.cell.D[...].T + self.d[...][None]

    def ends(self) -> Ends:
        """U and D."""
        return Ends(self.deq.cell.U[...], self.deq.cell.D[...])

    def guarantees(self) -> tuple[Guarantee, ...]:
        """One equilibrium, and γ."""
        return (self.deq.cell.guarantee("deq", "cell"),)
