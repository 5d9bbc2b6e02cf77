"""The cell of an equilibrium network whose outputs move by at most γ times what its inputs do."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.lipschitz import Lipschitz
from deqzoo.nn.monotone_cell import Margin
from deqzoo.nn.sector_cell import SectorCell
from deqzoo.settings import In, fitted

Gamma = Annotated[float, In("(0, inf)")]


class LipschitzCell(SectorCell):
    """v = ψ(Wv + u), u = Ux + b, with |Dv(x) - Dv(x')| <= γ|x - x'| by construction.

    W = (1 - m)I - (AᵀA + (UUᵀ + DᵀD)/γ)/2 + B - Bᵀ, ψ the sector of φ. The difference d of two
    equilibria has <d, (I - W)d> <= <d, Uδ>, δ = x - x', so that
    (|Uᵀd|² + |Dd|²)/2γ <= <Uᵀd, δ> <= |Uᵀd|²/2γ + γ|δ|²/2.

    Args:
        inputs: of x.
        width: of v and u.
        outputs: of Dv.
        activation: φ, not affine, with its slope bounds, which hold while a learnable one is
            learned.
        gamma: γ.
        margin: m > 0: I - W is m-strongly monotone.
        rngs: the stream ``params`` draws A, B, U and D.
        dtype: of the parameters.

    Raises:
        ValueError: φ is affine, or γ or m out of range.

    References:
        Revay, Wang and Manchester, "Lipschitz bounded equilibrium networks", arXiv 2010.01732, for
        slopes in [0, 1] and with a metric that is learned; here the metric is Euclidean.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, LipschitzCell
        >>> cell = LipschitzCell(5, 8, 3, activations.get("gelu"), gamma=2.0, rngs=nnx.Rngs(0))
        >>> v = DEQ(cell)(jnp.eye(5) @ cell.U[...].T).value
        >>> float(jnp.linalg.norm((v[0] - v[1]) @ cell.D[...].T)) < 2 * 2**0.5
        True
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        activation: Activation,
        *,
        gamma: float,
        margin: float = 0.1,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(activation, width, dtype)
        self.gamma, self.margin = fitted("gamma", gamma, Gamma), fitted("margin", margin, Margin)

        def draw(rows: int, columns: int, size: int) -> nnx.Param:
            return nnx.Param(normal(rngs, (rows, columns), size**-0.5, dtype))

        self.A, self.B = draw(width, width, 3 * width), draw(width, width, 3 * width)
        self.U, self.D = draw(width, inputs, inputs), draw(outputs, width, width)

    def weight(self) -> Float[Array, "width width"]:
        """W."""
        A, B, U, D = self.A[...], self.B[...], self.U[...], self.D[...]
        product = lambda a, b: jnp.matmul(a, b, precision="highest")  # noqa: E731
        bounded = product(A.T, A) + (product(U, U.T) + product(D.T, D)) / self.gamma
        return (1 - self.margin) * jnp.eye(A.shape[0], dtype=A.dtype) - bounded / 2 + B - B.T

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

    def guarantee(self, *place: str) -> Lipschitz:
        """One equilibrium, and γ, whatever the parameters.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return Lipschitz(self.activation, self.margin, self.gamma, place)
