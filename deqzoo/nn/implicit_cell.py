"""The cell z -> φ(Wz + b) that contracts in a maximum norm."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.max_norm import MaxNorm
from deqzoo.nn.guarantees.perron import Perron
from deqzoo.nn.guarantees.row_sums import RowSums
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, OneOf, fitted

_NORMS: dict[str, type[RowSums]] = {"max": MaxNorm, "perron": Perron}

Gain = Annotated[float, In("(0, 1)")]
Norm = Annotated[str, OneOf(*_NORMS)]


class ImplicitCell(nnx.Module):
    """z -> φ(Wz + b), W normal, its rows scaled down until L‖W‖_∞ or L ρ(|W|) is ``gain``.

    Args:
        width: of z and b.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        norm: "max" for ‖W‖_∞, "perron" for ρ(|W|), which admits more.
        gain: the bound at initialisation, in (0, 1).
        rngs: the stream ``params`` draws W.
        dtype: of W.

    Raises:
        ValueError: gain or norm is none of these.

    References:
        El Ghaoui, Gu, Travacca, Askari and Tsai, "Implicit Deep Learning", arXiv 1908.06315.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, ImplicitCell
        >>> deq = DEQ(ImplicitCell(8, activations.get("gelu"), rngs=nnx.Rngs(0)))
        >>> deq(jnp.ones((4, 8))).value.shape
        (4, 8)
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        norm: str = "max",
        gain: float = 0.8,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.activation, self.norm = activation, fitted("norm", norm, Norm)
        self.phi = Nonlinearity(activation, width, dtype)
        draw = normal(rngs, (width, width), 1.0, dtype)
        limited = _NORMS[self.norm](activation, ("W",)).rescale(
            {"W": draw}, fitted("gain", gain, Gain)
        )
        self.W = nnx.Param(limited["W"])

    def __call__(
        self, z: Float[Array, "batch width"], b: Float[Array, "batch width"]
    ) -> Float[Array, "batch width"]:
        """φ(Wz + b) for every example."""
        return self.phi(z @ self.W[...].T + b)

    def start(self, b: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        """Zero."""
        return jnp.zeros_like(b)

    def guarantee(self, *place: str) -> RowSums:
        """The bound of W that keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return _NORMS[self.norm](self.activation, (*place, "W"))
