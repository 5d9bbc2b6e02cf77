"""A graph network whose equilibrium holds its range by construction."""

from __future__ import annotations

from deqzoo.nn.gram_graph_cell import GramGraphCell
from deqzoo.nn.graph_equilibrium import GraphEquilibrium

__all__ = ["Eignn"]


class Eignn(GraphEquilibrium):
    """z = φ(ÂzW + ÂXUᵀ), W = (γ/L) FᵀF/‖FᵀF‖_F; with φ = identity, infinitely many linear layers.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe; by default identity.
        width: of the state of a node.
        gain: γ in (0, 1), of every F: how far a node is seen.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no graph.

    References:
        Liu, Kawaguchi, Hooi, Wang and Xiao, "EIGNN: Efficient Infinite-Depth Graph Neural
        Networks", arXiv 2202.10720, which is linear; any other φ, and ÂXUᵀ for XUᵀ: deqzoo.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.eignn import Eignn
        >>> data = deqzoo.catalog.tasks.get("chains(length=5)").load()
        >>> model = Eignn(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> model(data.test.x)[0].shape
        (1, 200, 2)
    """

    cell, phi = GramGraphCell, "identity"
