"""The cell z -> φ(ÂzW + u) whose W is a Gram matrix, scaled below 1/L whatever is learned."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.nn.graph_cell import GraphCell
from deqzoo.nn.guarantees.gram_contraction import GramContraction

_TINY = 1e-12


class GramGraphCell(GraphCell):
    """``GraphCell`` with W = (gain/L) FᵀF/(‖FᵀF‖_F + 1e-12); L‖W‖₂ <= gain by construction.

    References:
        Liu, Kawaguchi, Hooi, Wang and Xiao, "EIGNN: Efficient Infinite-Depth Graph Neural
        Networks", arXiv 2202.10720, for the scaled Gram matrix of linear equilibria, as it is
        commonly described; the factor 1/L: deqzoo.
    """

    def as_drawn(self, draw: Float[Array, "width width"]) -> Float[Array, "width width"]:
        """F, as it is drawn."""
        return draw

    def weight(self) -> Float[Array, "width width"]:
        """W."""
        F = self.W[...]
        gram = jnp.matmul(F.T, F, precision="highest")
        size = jnp.linalg.norm(gram) + jnp.asarray(_TINY, gram.dtype)
        return gram * (self.gain / self.activation.lipschitz / size)

    def guarantee(self, *place: str) -> GramContraction:
        """What holds whatever F is.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return GramContraction(self.activation, (*place, "W"), self.gain)
