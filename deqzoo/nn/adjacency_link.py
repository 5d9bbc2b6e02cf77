"""A second opinion of a node: who its neighbours are, by number."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.nn.draws import normal
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.neighbours import aggregated


class AdjacencyLink(nnx.Module):
    """p_0 h + p_1 (ÂV + a), (p_0, p_1) = softmax(q): V knows the nodes of one graph by number.

    Args:
        nodes: of the graph.
        width: of h.
        rngs: the stream ``params`` draws V, entries of variance 1/nodes; q begins at zero.
        dtype: of V, a and q.
    """

    def __init__(self, nodes: int, width: int, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.V = nnx.Param(normal(rngs, (nodes, width), nodes**-0.5, dtype))
        self.a, self.q = (nnx.Param(jnp.zeros(size, dtype)) for size in (width, 2))

    def __call__(
        self, h: Float[Array, "batch nodes width"], x: Injected
    ) -> Float[Array, "batch nodes width"]:
        """Both, weighed."""
        p = nnx.softmax(self.q[...])
        V = jnp.broadcast_to(self.V[...][None], h.shape)
        return p[0] * h + p[1] * (aggregated(V, x.edges, x.scale) + self.a[...][None, None])
