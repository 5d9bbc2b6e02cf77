"""A recurrent network whose every step is an equilibrium: it keeps count of a state."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT
from deqzoo.core.solver import Solver
from deqzoo.nn.deq import DEQ
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.recurrent_cell import Gated, RecurrentCell
from deqzoo.nn.sequence_model import SequenceModel

__all__ = ["ImplicitRNN"]


class ImplicitRNN(SequenceModel):
    """z_t = φ(Wz_t + s_t ⊙ Vz_{t-1} + u_t), s_t = tanh(Sx_t + d), outputs = A z_t/rms(z_t) + c.

    x_t is the vector of a token and u_t = Ux_t + b. The gate may turn the sign of what is carried
    on, and its bound is what makes a theorem of L‖W‖₂ < 1; V may have any norm, so that nothing
    need be forgotten.

    Args:
        spec: of one example, a row of tokens.
        outputs: classes of a position.
        activation: φ, an activation or its recipe.
        embedding: numbers of a token.
        width: of the state of a position.
        gain: L‖W‖₂ at initialisation, in (0, 1).
        solver: a solver or its recipe; every step of it is a sweep through the sequence.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no row of tokens.

    References:
        This equilibrium and its theorem: deqzoo. After what the abstracts of arXiv 2502.07827 and
        2503.10799 say of equilibria in recurrent networks; their texts were not at hand.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.implicit_rnn import ImplicitRNN
        >>> data = deqzoo.catalog.tasks.get("parity(length=8, examples=20)").load()
        >>> model = ImplicitRNN(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> model(data.test.x[:3])[0].shape
        (3, 8, 2)
    """

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str = "tanh",
        embedding: int = 16,
        width: int = 32,
        gain: float = 0.5,
        solver: Solver | str = "picard",
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
        cell = RecurrentCell(width, self.activation, gain=gain, rngs=rngs, dtype=dtype)
        self.inputs = nnx.Linear(embedding, width, param_dtype=dtype, rngs=rngs)
        self.gates = nnx.Linear(embedding, width, param_dtype=dtype, rngs=rngs)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)

    def stem(self, x: Int[Array, "batch length"]) -> Gated:
        """The pair (u, s)."""
        vectors = self.table(x)
        return Gated(self.inputs(vectors), jnp.tanh(self.gates(vectors)))

    def guarantees(self) -> tuple[Guarantee, ...]:
        """That of the cell."""
        return (self.deq.cell.guarantee("deq", "cell"),)
