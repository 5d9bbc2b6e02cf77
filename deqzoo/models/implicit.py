"""An implicit model that is well posed by the rows of its weights."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.flat_model import FlatModel
from deqzoo.nn.implicit_cell import ImplicitCell

__all__ = ["Implicit"]


class Implicit(FlatModel):
    """z = φ(Wz + Ux + b), outputs = Az + c, L‖W‖_∞ < 1 or L ρ(|W|) < 1.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, an activation or its recipe.
        width: of z.
        norm: "max" bounds ‖W‖_∞, "perron" ρ(|W|), which admits more.
        gain: L times that at initialisation, in (0, 1).
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        El Ghaoui, Gu, Travacca, Askari and Tsai, "Implicit Deep Learning", arXiv 1908.06315, whose
        model also feeds x to the outputs.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.implicit import Implicit
        >>> model = Implicit((8, 8, 1), 10, activation="gelu", norm="perron", rngs=nnx.Rngs(0))
        >>> logits, _ = model(jnp.ones((5, 8, 8, 1)))
        >>> logits.shape
        (5, 10)
    """

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "relu",
        width: int = 64,
        norm: str = "max",
        gain: float = 0.8,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        def cell(activation: Activation) -> ImplicitCell:
            return ImplicitCell(width, activation, norm=norm, gain=gain, rngs=rngs, dtype=dtype)

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
