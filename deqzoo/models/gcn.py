"""The graph convolutional network, beside which graph networks with an equilibrium are read."""

from __future__ import annotations

from typing import Annotated, Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.nn.convolution_layers import ConvolutionLayers
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.graph_layers import GraphLayers
from deqzoo.nn.neighbours import aggregated
from deqzoo.settings import In, fitted

__all__ = ["Gcn"]

_Depth = Annotated[int, In("[2, inf)")]


class Gcn(GraphLayers):
    """H_1 = φ(ÂXUᵀ + b_1), H_{l+1} = φ(ÂH_l W_l + b_{l+1}), outputs = ÂH_{L-1}A + c: L layers.

    A baseline of finite depth: it has no equilibrium and claims none, the status of its solves is
    EXPLICIT. It sees L edges far.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe.
        width: of the state of a node.
        depth: L, 2 or more.
        solver: without effect: nothing is solved.
        adjoint: without effect.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no graph, or depth is out of range.

    References:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", arXiv
        1609.02907; without dropout.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.gcn import Gcn
        >>> data = deqzoo.catalog.tasks.get("chains(length=5)").load()
        >>> model = Gcn(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> model(data.test.x)[0].shape
        (1, 200, 2)
    """

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str = "relu",
        width: int = 32,
        depth: int = 2,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        layers = fitted("depth", depth, _Depth) - 1
        super().__init__(
            spec,
            outputs,
            activation=activation,
            cell=lambda phi: ConvolutionLayers(width, phi, layers=layers, rngs=rngs, dtype=dtype),
            width=width,
            solver=solver,
            adjoint=adjoint,
            rngs=rngs,
            dtype=dtype,
        )

    def features(
        self, z: Float[Array, "batch nodes width"], injected: Injected
    ) -> Float[Array, "batch nodes width"]:
        """ÂH."""
        return aggregated(z, injected.edges, injected.scale)
