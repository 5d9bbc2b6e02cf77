"""The base of graph networks whose members differ in their cell alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.nn.graph_model import GraphModel
from deqzoo.nn.guarantee import Guarantee


class GraphEquilibrium(GraphModel):
    """A ``GraphModel`` with one cell of nodes that begins at a bound ``gain``.

    A member names its cell, and its φ where that is not relu.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe; by default that of the member.
        width: of the state of a node.
        gain: of the cell.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Attributes:
        cell: (width, activation, gain=, rngs=, dtype=) -> the cell.
        phi: the recipe of φ where none is given.

    Raises:
        ValueError: an example is no graph.
    """

    cell: ClassVar[Callable[..., Any]]
    phi: ClassVar[str] = "relu"

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str | None = None,
        width: int = 32,
        gain: float = 0.95,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(
            spec,
            outputs,
            activation=catalog.activations.get(self.phi if activation is None else activation),
            cell=lambda phi: self.cell(width, phi, gain=gain, rngs=rngs, dtype=dtype),
            width=width,
            solver=solver,
            adjoint=adjoint,
            rngs=rngs,
            dtype=dtype,
        )

    def guarantees(self) -> tuple[Guarantee, ...]:
        """That of the cell."""
        return (self.deq.cell.guarantee("deq", "cell"),)
