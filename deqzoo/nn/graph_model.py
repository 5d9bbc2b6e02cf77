"""The base of models of graphs: aggregated stem, equilibrium of the nodes, head of each node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.solver import Solver
from deqzoo.data.graph import EDGES, FEATURES
from deqzoo.data.spec import Spec, described
from deqzoo.nn.deq import DEQ
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.model import Model
from deqzoo.nn.neighbours import aggregated, node_scale

_TINY = 1e-20


class GraphModel(Model):
    """u = ÂXUᵀ, an equilibrium z of a cell on all nodes, outputs = A z/|z| + c for every node.

    An example is a graph: ``{"features": (nodes, k), "edges": (edges, 2)}``; outputs are
    (batch, nodes, outputs).

    Args:
        spec: of one example.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe.
        cell: φ -> the cell.
        width: of the state of a node.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws U, the cell and A in this order.
        dtype: of all parameters.

    Attributes:
        equilibrium: what is made of the cell.
        aggregates: u is ÂXUᵀ; else XUᵀ.

    Raises:
        ValueError: an example is no graph.
    """

    example_task = "chains"
    equilibrium: ClassVar[type[DEQ]] = DEQ
    aggregates: ClassVar[bool] = True

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str,
        cell: Callable[[Activation], nnx.Module],
        width: int,
        solver: Solver | str,
        adjoint: Adjoint | str,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ):
        features = features_of(spec)
        self.activation = catalog.activations.get(activation)
        linear = {"param_dtype": dtype, "rngs": rngs}
        self.inputs = nnx.Linear(features.shape[-1], width, use_bias=False, **linear)
        self.deq = self.equilibrium(cell(self.activation), solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, **linear)

    def stem(self, x: dict[str, Array]) -> Injected:
        """U, with the edges."""
        nodes, edges = self.inputs(x[FEATURES]), x[EDGES]
        scale = node_scale(edges, nodes.shape[1], nodes.dtype)
        u = aggregated(nodes, edges, scale) if self.aggregates else nodes
        return Injected(u, edges, scale)

    def features(
        self, z: Float[Array, "batch nodes width"], injected: Injected
    ) -> Float[Array, "batch nodes width"]:
        """H, what the outputs are made of; by default z."""
        del injected
        return z

    def head(
        self, z: Float[Array, "batch nodes width"], injected: Injected
    ) -> Float[Array, "batch nodes outputs"]:
        """Far from all that is known h is small, and its direction tells as much: A h/|h| + c."""
        h = self.features(z, injected)
        square = jnp.sum(jnp.square(h), axis=-1, keepdims=True)
        return self.outputs(h * lax.rsqrt(square + jnp.asarray(_TINY, h.dtype)))


def features_of(spec: Any) -> Spec:
    """(nodes, k) of an example that is a graph.

    Raises:
        ValueError: it is none.
    """
    if isinstance(spec, dict) and {*spec} == {FEATURES, EDGES}:
        return spec[FEATURES]
    raise ValueError(
        f"this model takes graphs, {{'{FEATURES}': (nodes, k), '{EDGES}': (edges, 2)}}, and an "
        f"example is {described(spec)}: choose a task of graphs, such as chains"
    )
