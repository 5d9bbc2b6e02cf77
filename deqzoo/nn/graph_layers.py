"""The base of graph networks of finite depth, the neighbours of those with an equilibrium."""

from __future__ import annotations

from jaxtyping import Array, Float

from deqzoo.nn.explicit import Explicit
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.graph_model import GraphModel


class GraphLayers(GraphModel):
    """Outputs = A h + c for every node, h after finitely many layers: there is no equilibrium.

    The cell puts out what the last layer does and does not look at its state (``Explicit``).
    """

    equilibrium = Explicit

    def head(
        self, z: Float[Array, "batch nodes width"], injected: Injected
    ) -> Float[Array, "batch nodes outputs"]:
        """A h + c."""
        return self.outputs(self.features(z, injected))
