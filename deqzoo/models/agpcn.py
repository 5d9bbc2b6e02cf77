"""A graph polynomial convolution that learns the length of every step."""

from __future__ import annotations

from deqzoo.nn.polynomial_model import PolynomialModel

__all__ = ["Agpcn"]


class Agpcn(PolynomialModel):
    """H_{t+1} = H_t + s_t Â(H_t W + b) with learned s_t of any sign, in all else ``gpcn``.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe.
        width: of the state of a node.
        depth: T: how far a node is seen.
        step: the deviation of the s_t as they are drawn.
        link: as of ``gpcn``.
        solver: without effect: nothing is solved.
        adjoint: without effect.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no graph, or depth or step is out of range.

    References:
        Wimalawarne and Suzuki, "Graph Polynomial Convolution Models for Node Classification of
        Non-Homophilous Graphs", arXiv 2209.05020; without the dropout of their code.

    Example:
        >>> import deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.agpcn import Agpcn
        >>> data = deqzoo.catalog.tasks.get("chains(length=5)").load()
        >>> model = Agpcn(data.spec, data.outputs, depth=3, rngs=nnx.Rngs(0))
        >>> model.deq.cell.s.shape
        (3,)
    """

    learned = True
