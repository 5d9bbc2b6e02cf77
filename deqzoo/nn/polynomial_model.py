"""The base of graph polynomial convolutions: linear steps of one matrix, given or learned."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.nn.adjacency_link import AdjacencyLink
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.graph_layers import GraphLayers
from deqzoo.nn.graph_model import features_of
from deqzoo.nn.polynomial_cell import PolynomialCell


class PolynomialModel(GraphLayers):
    """Outputs = A H + c of every node, H of a ``PolynomialCell``, and of an ``AdjacencyLink`` too.

    A member says whether its steps are learned.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe.
        width: of the state of a node.
        depth: T.
        step: s, or the deviation of the s_t as they are drawn.
        link: whether H_T goes through an ``AdjacencyLink``.
        solver: without effect: nothing is solved.
        adjoint: without effect.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Attributes:
        learned: every step has a length of its own, a parameter.

    Raises:
        ValueError: an example is no graph, or depth or step is out of range.
    """

    aggregates = False
    learned: ClassVar[bool] = False

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str = "relu",
        width: int = 32,
        depth: int = 8,
        step: float = 1.0,
        link: bool = False,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        settings = {"depth": depth, "step": step, "learned": self.learned}
        super().__init__(
            spec,
            outputs,
            activation=activation,
            cell=lambda phi: PolynomialCell(width, phi, **settings, rngs=rngs, dtype=dtype),
            width=width,
            solver=solver,
            adjoint=adjoint,
            rngs=rngs,
            dtype=dtype,
        )
        nodes = features_of(spec).shape[0]
        self.link = AdjacencyLink(nodes, width, rngs=rngs, dtype=dtype) if link else None

    def features(
        self, z: Float[Array, "batch nodes width"], injected: Injected
    ) -> Float[Array, "batch nodes width"]:
        """H_T, or H."""
        return z if self.link is None else self.link(z, injected)
