"""A graph polynomial convolution: finitely many linear steps of one matrix, no equilibrium."""

from __future__ import annotations

from deqzoo.nn.polynomial_model import PolynomialModel

__all__ = ["Gpcn"]


class Gpcn(PolynomialModel):
    """H_0 = φ(XUᵀ + b_0), H_{t+1} = H_t + s Â(H_t W + b), outputs = A H_T + c for every node.

    It has no equilibrium and claims none: the status of its solves is EXPLICIT. With b = 0, H_T =
    Σ_k C(T, k) sᵏ ÂᵏH_0Wᵏ: polynomials of ÂHW as the equilibrium Σ_k ÂᵏH_0Wᵏ of a linear ``eignn``
    is a series of them, with other coefficients, so that it is none of its truncations.

    Args:
        spec: of one example, ``{"features": Spec((nodes, k)), "edges": Spec((edges, 2), ...)}``.
        outputs: classes of the nodes.
        activation: φ, an activation or its recipe.
        width: of the state of a node.
        depth: T: how far a node is seen.
        step: s.
        link: with H = p_0 H_T + p_1 (ÂV + a) in the place of H_T, (p_0, p_1) = softmax(q), where V
            holds a row for each node of the one graph.
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
        >>> from deqzoo.models.gpcn import Gpcn
        >>> data = deqzoo.catalog.tasks.get("chains(length=5)").load()
        >>> model = Gpcn(data.spec, data.outputs, rngs=nnx.Rngs(0))
        >>> logits, solution = model(data.test.x)
        >>> logits.shape, deqzoo.Status(int(solution.stats.status[0])).name
        ((1, 200, 2), 'EXPLICIT')
    """
