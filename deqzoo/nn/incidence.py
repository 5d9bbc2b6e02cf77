"""The differences along the edges of a graph, Gz, and what an edge gives back to its nodes, Gᵀe."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def differences(
    z: Float[Array, "batch nodes k"],
    edges: Int[Array, "batch edges 2"],
    scale: Float[Array, "batch nodes"],
) -> Float[Array, "batch edges k"]:
    """Gz, of the edge from i to j z_i/√d_i - z_j/√d_j; ‖G‖₂² <= 2.

    Args:
        z: of the nodes.
        edges: numbers of two nodes each.
        scale: D^-1/2, ``deqzoo.nn.neighbours.node_scale``: d counts a loop at every node.

    References:
        Ours: |x_i/√d_i - x_j/√d_j|² <= 2x_i²/d_i + 2x_j²/d_j, summed over all edges.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.nn.incidence import differences
        >>> z, edges = jnp.array([[[2.0], [5.0]]]), jnp.array([[[0, 1]]])
        >>> differences(z, edges, jnp.ones((1, 2))).tolist()
        [[[-3.0]]]
    """
    return jax.vmap(lambda z, edges: z[edges[:, 0]] - z[edges[:, 1]])(z * scale[:, :, None], edges)


def gathered(
    e: Float[Array, "batch edges k"],
    edges: Int[Array, "batch edges 2"],
    scale: Float[Array, "batch nodes"],
) -> Float[Array, "batch nodes k"]:
    """Gᵀe.

    Args:
        e: of the edges.
        edges: numbers of two nodes each.
        scale: D^-1/2.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.nn.incidence import gathered
        >>> gathered(jnp.array([[[3.0]]]), jnp.array([[[0, 1]]]), jnp.ones((1, 2))).tolist()
        [[[3.0], [-3.0]]]
    """
    nodes = scale.shape[1]

    def one(e, edges):
        zeros = jnp.zeros((nodes, e.shape[1]), e.dtype)
        return zeros.at[edges[:, 0]].add(e).at[edges[:, 1]].add(-e)

    return jax.vmap(one)(e, edges) * scale[:, :, None]
