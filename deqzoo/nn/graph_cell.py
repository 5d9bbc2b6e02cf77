"""The cell z -> φ(ÂzWᵀ + u) on the nodes of a graph."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.guarantees.graph_contraction import GraphContraction
from deqzoo.nn.implicit_cell import Gain
from deqzoo.nn.neighbours import aggregated
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import fitted


class Injected(NamedTuple):
    """What a graph gives to its equilibrium.

    Attributes:
        nodes: u.
        edges: numbers of two nodes each.
        scale: of the nodes, D^-1/2.
    """

    nodes: Float[Array, "batch nodes width"]
    edges: Int[Array, "batch edges 2"]
    scale: Float[Array, "batch nodes"]


class GraphCell(nnx.Module):
    """z -> φ(ÂzWᵀ + u), W normal with L times its norm ``gain`` at most.

    Args:
        width: of the state of a node.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        gain: L‖W‖₂ at initialisation, in (0, 1).
        rngs: the stream ``params`` draws W.
        dtype: of W.

    Raises:
        ValueError: gain is out of range.

    References:
        Gu, Chang, Zhu, Sojoudi and El Ghaoui, "Implicit Graph Neural Networks", arXiv 2009.06211,
        where the norm is another one.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn.graph_cell import GraphCell, Injected
        >>> from deqzoo.nn.neighbours import node_scale
        >>> edges = jnp.array([[[0, 1], [1, 2]]])
        >>> x = Injected(jnp.ones((1, 3, 4)), edges, node_scale(edges, 3, jnp.float32))
        >>> cell = GraphCell(4, activations.get("tanh"), rngs=nnx.Rngs(0))
        >>> cell(cell.start(x), x).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        gain: float = 0.95,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.activation, self.gain = activation, fitted("gain", gain, Gain)
        self.phi = Nonlinearity(activation, width, dtype)
        draw = normal(rngs, (width, width), width**-0.5, dtype)
        self.W = nnx.Param(self.as_drawn(draw))

    def as_drawn(self, draw: Float[Array, "width width"]) -> Float[Array, "width width"]:
        """What is learned, as it begins."""
        wide = draw.astype(jnp.float32) if draw.dtype.itemsize < 4 else draw
        orthogonal = jnp.linalg.qr(wide)[0].astype(draw.dtype)
        limited = GraphContraction(self.activation, ("W",)).rescale({"W": orthogonal}, self.gain)
        return limited["W"]

    def weight(self) -> Float[Array, "width width"]:
        """W."""
        return self.W[...]

    def __call__(
        self, z: Float[Array, "batch nodes width"], x: Injected
    ) -> Float[Array, "batch nodes width"]:
        """φ(ÂzWᵀ + u)."""
        return self.phi(aggregated(z @ self.weight().T, x.edges, x.scale) + x.nodes)

    def start(self, x: Injected) -> Float[Array, "batch nodes width"]:
        """Zero."""
        return jnp.zeros_like(x.nodes)

    def guarantee(self, *place: str) -> Guarantee:
        """The bound of W that keeps the equilibrium unique on every graph.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return GraphContraction(self.activation, (*place, "W"))
