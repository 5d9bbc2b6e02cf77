"""An implicit graph network: an equilibrium of nodes that see their neighbours."""

from __future__ import annotations

from deqzoo.nn.graph_cell import GraphCell
from deqzoo.nn.graph_equilibrium import GraphEquilibrium

__all__ = ["Ignn"]


class Ignn(GraphEquilibrium):
    """z = φ(ÂzWᵀ + ÂXUᵀ), outputs = A z/|z| + c for every node, L‖W‖₂ < 1.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe; by default relu.
        width: of the state of a node.
        gain: L‖W‖₂ at initialisation, in (0, 1).
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no graph.

    References:
        Gu, Chang, Zhu, Sojoudi and El Ghaoui, "Implicit Graph Neural Networks", arXiv 2009.06211,
        whose norm is another one. ‖Â‖₂ <= 1 makes any W below 1/L well posed on every graph.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.ignn import Ignn
        >>> data = deqzoo.catalog.tasks.get("chains(length=5)").load()
        >>> model = Ignn(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> model(data.test.x)[0].shape
        (1, 200, 2)
    """

    cell = GraphCell
