"""Attention whose weights are those of the input and whose values are those of the equilibrium."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.nn.causal_cell import Attended, CausalCell
from deqzoo.nn.causal_weights import CausalWeights
from deqzoo.nn.deq import DEQ
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.sequence_model import SequenceModel

__all__ = ["Causal"]


class Causal(SequenceModel):
    """z = φ(Wz + concat_h(A_h(x) z V_h) + u), outputs = A z_t/rms(z_t) + c at every position.

    A_h(x) are causal weights of attention between the tokens x, u = Ux + b; outputs at a position
    are those of the tokens up to it. L(‖W‖₂ + √Σ‖V_h‖₂²) < 1 makes it well posed.

    Args:
        spec: of one example, a row of tokens.
        outputs: classes of a position.
        activation: φ, an activation or its recipe.
        embedding: numbers of a token.
        width: of the state of a position, a multiple of ``heads``.
        heads: of attention.
        gain: L(‖W‖₂ + √Σ‖V_h‖₂²) at initialisation, in (0, 1).
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no row of tokens.

    References:
        The equilibrium and its theorem: deqzoo. Attention as in Vaswani et al., "Attention Is All
        You Need", arXiv 1706.03762; a transformer as an equilibrium: Bai, Kolter and Koltun, "Deep
        Equilibrium Models", arXiv 1909.01377.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.causal import Causal
        >>> data = deqzoo.catalog.tasks.get("parity(length=8, examples=20)").load()
        >>> model = Causal(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> model(data.test.x[:3])[0].shape
        (3, 8, 2)
    """

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str = "relu",
        embedding: int = 32,
        width: int = 96,
        heads: int = 4,
        gain: float = 0.9,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        super().__init__(
            spec,
            outputs,
            activation=activation,
            embedding=embedding,
            width=width,
            rngs=rngs,
            dtype=dtype,
        )
        own = {"length": self.length, "rngs": rngs, "dtype": dtype}
        cell = CausalCell(width, heads, self.activation, gain=gain, **own)
        self.weights = CausalWeights(embedding, heads, max(1, embedding // heads), **own)
        self.inputs = nnx.Linear(embedding, width, param_dtype=dtype, rngs=rngs)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)

    def stem(self, x: Int[Array, "batch length"]) -> Attended:
        """u, and the weights of attention."""
        vectors = self.table(x)
        return Attended(self.inputs(vectors), self.weights(vectors))

    def guarantees(self) -> tuple[Guarantee, ...]:
        """That of the cell."""
        return (self.deq.cell.guarantee("deq", "cell"),)
