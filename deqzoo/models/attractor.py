"""A backbone proposes, and an equilibrium refines what it proposed: nothing is proved."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.nn.causal_block import CausalBlock, RefiningCell
from deqzoo.nn.deq import DEQ
from deqzoo.nn.sequence_model import SequenceModel

__all__ = ["Attractor"]


class Attractor(SequenceModel):
    """y = c + g·block(y + c), c = e + block'(e), outputs = A y_t/rms(y_t) + b at every position.

    e = Ex + d are the vectors of the tokens, both blocks causal (``CausalBlock``). Nothing is
    proved of it (level C): whether an example has converged stands in ``Solution.stats``. Its
    gradient is that of one step at the equilibrium; the exact one, ``implicit``, fails where the
    block comes to stretch, so that it needs ``on_failure='phantom'``.

    Args:
        spec: of one example, a row of tokens.
        outputs: classes of a position.
        activation: φ, an activation or its recipe.
        embedding: numbers of a token.
        width: of the state of a position, a multiple of ``heads``.
        heads: of attention.
        weight: g at initialisation.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no row of tokens.

    References:
        After "Attractor Models", arXiv 2605.12466, of which the iteration alone was read; the
        blocks are deqzoo's. One step: Fung et al., "JFB: Jacobian-Free Backpropagation for Implicit
        Networks", arXiv 2103.12803.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.attractor import Attractor
        >>> data = deqzoo.catalog.tasks.get("parity(length=8, examples=20)").load()
        >>> model = Attractor(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> model(data.test.x[:3])[0].shape, model.guarantees()
        ((3, 8, 2), ())
    """

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str = "gelu",
        embedding: int = 32,
        width: int = 96,
        heads: int = 4,
        weight: float = 0.3,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = "phantom(steps=1)",
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
        own = (width, heads, self.activation, self.length)
        self.inputs = nnx.Linear(embedding, width, param_dtype=dtype, rngs=rngs)
        self.backbone = CausalBlock(*own, rngs=rngs, dtype=dtype)
        refining = CausalBlock(*own, rngs=rngs, dtype=dtype)
        cell = RefiningCell(refining, weight=weight, dtype=dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)

    def stem(self, x: Int[Array, "batch length"]) -> Float[Array, "batch length width"]:
        """c, what is proposed."""
        vectors = self.inputs(self.table(x))
        return vectors + self.backbone(vectors)
