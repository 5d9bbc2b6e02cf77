"""The mean over the neighbours of a node that no spectral norm exceeds: Âz."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int


def node_scale(edges: Int[Array, "batch edges 2"], nodes: int, dtype: DTypeLike) -> Array:
    """D^-1/2 of A + I, (batch, nodes)."""

    def one(edges):
        degrees = jnp.ones(nodes, dtype).at[edges.reshape(-1)].add(1)
        return jax.lax.rsqrt(degrees)

    return jax.vmap(one)(edges)


def aggregated(
    z: Float[Array, "batch nodes k"],
    edges: Int[Array, "batch edges 2"],
    scale: Float[Array, "batch nodes"],
) -> Float[Array, "batch nodes k"]:
    """Âz = D^-1/2 (A + I) D^-1/2 z, ‖Â‖₂ <= 1, for edges without direction.

    Args:
        z: of the nodes.
        edges: numbers of two nodes each; A_ij counts the edges between i and j.
        scale: ``node_scale``.

    References:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", arXiv
        1609.02907, for this Â. Its norm: |x_i x_j|/√(d_i d_j) <= (x_i²/d_i + x_j²/d_j)/2, summed.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.nn.neighbours import aggregated, node_scale
        >>> edges = jnp.array([[[0, 1]]])
        >>> z = jnp.array([[[2.0], [4.0], [5.0]]])
        >>> found = aggregated(z, edges, node_scale(edges, 3, z.dtype))
        >>> [round(value, 3) for value in found.ravel().tolist()]
        [3.0, 3.0, 5.0]
    """

    def one(z, edges):
        left, right = edges[:, 0], edges[:, 1]
        return z.at[left].add(z[right]).at[right].add(z[left])

    scaled = z * scale[:, :, None]
    return jax.vmap(one)(scaled, edges) * scale[:, :, None]
