"""A graph network whose equilibrium minimises a convex function of differences along edges."""

from __future__ import annotations

from jaxtyping import Array, Float

from deqzoo.nn.diffusion_cell import DiffusionCell
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.graph_equilibrium import GraphEquilibrium

__all__ = ["Gind"]


class Gind(GraphEquilibrium):
    """z = -Gᵀφ(G(z + x)Wᵀ)W, x = ÂXUᵀ, outputs = A h/|h| + c for every node, h = x + z.

    h is x diffused along the edges, nonlinearly: it minimises |h - x|²/2 + Σ_e 1ᵀP(W(Gh)_e),
    P' = φ, and is the only one that does, whatever W is, for every φ that does not fall.
    ``model.deq.cell.objective`` and ``gradient`` certify an equilibrium.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe; by default tanh.
        width: of the state of a node.
        gain: of -2 inf φ' ‖W‖₂² at initialisation; without effect where φ does not fall.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no graph.

    References:
        Chen et al., "Optimization-Induced Graph Implicit Nonlinear Diffusion", arXiv 2206.14418,
        which normalises what comes out of φ too; without that, with ÂXUᵀ, with steps damped by a
        bound of ‖W‖₂, and what that proves: deqzoo.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.gind import Gind
        >>> data = deqzoo.catalog.tasks.get("chains(length=5)").load()
        >>> model = Gind(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> logits, solution = model(data.test.x)
        >>> logits.shape, float(solution.stats.fraction_converged)
        ((1, 200, 2), 1.0)
    """

    cell, phi = DiffusionCell, "tanh"

    def features(
        self, z: Float[Array, "batch nodes width"], injected: Injected
    ) -> Float[Array, "batch nodes width"]:
        """H = x + z."""
        return injected.nodes + z
