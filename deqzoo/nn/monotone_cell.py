"""The dense cell of a monotone equilibrium model, well posed whatever its weights."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.monotone import Monotone
from deqzoo.nn.sector_cell import SectorCell
from deqzoo.settings import In, fitted

Margin = Annotated[float, In("(0, inf)")]


class MonotoneCell(SectorCell):
    """v -> ψ(Wv + u), W = (1 - m)I - AᵀA + B - Bᵀ, ψ the sector of φ.

    I - W is m-strongly monotone for all A and B, so that the equilibrium exists and is unique. With
    y = Wv + u and (a, b) the slopes of φ, z = φ(y) = ay + (b - a)v is an equilibrium of
    z = φ(Vz + c), V = W((b - a)I + aW)⁻¹, c = (b - a)((b - a)I + aW)⁻¹u, where the inverse exists:
    an equilibrium model of φ itself.

    Args:
        width: of v and u.
        activation: φ, not affine, with its slope bounds, which hold while a learnable one is
            learned.
        margin: m > 0: the smaller, the larger the weights may be and the longer the solve.
        rngs: the stream ``params`` draws A and B, entries of variance 1/(3 width).
        dtype: of the parameters.

    Raises:
        ValueError: φ is affine, or m is not positive.

    References:
        Winston and Kolter, "Monotone operator equilibrium networks", arXiv 2006.08591, has W and
        ReLU.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, MonotoneCell
        >>> deq = DEQ(MonotoneCell(8, activations.get("gelu"), rngs=nnx.Rngs(0)))
        >>> float(deq(jnp.ones((4, 8))).stats.fraction_converged)
        1.0
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        margin: float = 0.1,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(activation, width, dtype)
        self.margin = fitted("margin", margin, Margin)

        deviation = (3 * width) ** -0.5
        draws = [normal(rngs, (width, width), deviation, dtype) for _ in range(2)]
        self.A, self.B = map(nnx.Param, draws)

    def weight(self) -> Float[Array, "width width"]:
        """W."""
        A, B = self.A[...], self.B[...]
        shrunk = (1 - self.margin) * jnp.eye(A.shape[0], dtype=A.dtype)
        return shrunk - jnp.matmul(A.T, A, precision="highest") + B - B.T

    def affine(
        self,
        v: Float[Array, "batch width"],
        x: Float[Array, "batch width"],
        weight: Float[Array, "width width"],
    ) -> Float[Array, "batch width"]:
        """Wv + u, u = x."""
        return v @ weight.T + x

    def start(self, x: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        """Zero."""
        return jnp.zeros_like(x)

    def output(
        self, v: Float[Array, "batch width"], x: Float[Array, "batch width"]
    ) -> Float[Array, "batch width"]:
        """Z = φ(Wv + u)."""
        return self.phi(self.affine(v, x, self.weight()))

    def guarantee(self, *place: str) -> Monotone:
        """The equilibrium is unique whatever A and B.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return Monotone(self.activation, self.margin, place, self.slopes)
