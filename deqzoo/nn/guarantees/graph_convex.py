"""The equilibrium of nodes is the one minimiser of a strongly convex function on every graph."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.nn.guarantees.convex import Convex

__all__ = ["GraphConvex"]

_LAPLACIAN = 2.0 * (1 + 2**-20)  # ‖G‖₂² of rounded D^-1/2


@dataclass(frozen=True)
class GraphConvex(Convex):
    """Φ(z) = |z|²/2 - s Σ_e 1ᵀP(W(G(z + x))_e) has Hessians I - s MᵀDM, M = G ⊗ W, ‖M‖₂² <= 2‖W‖₂².

    ``Convex`` of M, for the differences G along the edges of any graph: with s = -1 and a φ that
    does not fall it holds whatever W.

    Example:
        >>> import activations
        >>> from deqzoo.nn.guarantees.graph_convex import GraphConvex
        >>> GraphConvex(activations.get("tanh"), -1, ("W",)).by_construction
        True
        >>> GraphConvex(activations.get("sin"), -1, ("W",)).by_construction
        False
    """

    source = (
        "the form of Chen et al., Optimization-Induced Graph Implicit Nonlinear Diffusion, arXiv "
        "2206.14418, without its normalisation; its convexity: deqzoo"
    )

    @property
    def theorem(self) -> str:
        """What is minimised, and where."""
        return f"{super().theorem}, for every graph and every input"

    @property
    def quantity(self) -> str:
        """A slope times a bound of ‖M‖₂²."""
        return "2‖W‖₂² sup sφ'"

    @property
    def _factor(self) -> float:
        return super()._factor * _LAPLACIAN

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """Those of ``Convex`` and the bound of G."""
        return (*super().hypotheses, "‖G‖₂² <= 2, as the degree of a node counts a loop too")

    def nearness(self, parameters):
        """Nothing is said: a state is no vector."""
        del parameters
