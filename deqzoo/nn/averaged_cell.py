"""Layers that each take an averaged step towards the minimiser of a convex function of theirs."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.measured import require_true_bounds
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.convex import Convex
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, fitted

Averaging = Annotated[float, In("(0, 1]")]


class AveragedCell(nnx.Module):
    """z -> f_L ∘ ... ∘ f_1(z), f_k(z) = (1 - α)z + α s W_kᵀφ(W_k z + u_k) = z - α∇Φ_k(z).

    Every layer contracts where ‖W_k‖₂² max(sup sφ', -α/(2 - α) inf sφ') < 1. As α -> 0 the
    equilibrium goes to the minimiser of Σ_k Φ_k, with an error of O(α).

    With a prior σ, the proximal operator of a convex function ρ, z -> σ(f_L ∘ ... ∘ f_1(z)), which
    contracts no less. Of one layer the equilibrium then is the minimiser of Φ + ρ/α, a
    forward-backward step of which the map is: soft_threshold(threshold=γ) makes it sparse, with
    ρ = γ|z|₁, relu keeps it nonnegative, hard_tanh in a box.

    Args:
        width: of z.
        hidden: of every u_k.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        depth: L layers.
        sign: s, 1 or -1.
        averaging: α in (0, 1].
        prior: σ, an activation that is a proximal operator, learned if it is learnable; None for
            none.
        gain: of the bound at initialisation, at most.
        rngs: the stream ``params`` draws all W_k, entries of variance 1/width.
        dtype: of W.

    Raises:
        ActivationError: the prior declares what is not so.
        ValueError: s is neither 1 nor -1, α lies outside (0, 1], or the prior is no proximal
            operator.

    References:
        Xie et al., "Optimization Induced Equilibrium Networks", arXiv 2105.13228.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, AveragedCell
        >>> cell = AveragedCell(8, 6, activations.get("gelu"), depth=3, rngs=nnx.Rngs(0))
        >>> DEQ(cell)(jnp.ones((4, 18))).value.shape
        (4, 8)
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: Activation,
        *,
        depth: int = 2,
        sign: int = 1,
        averaging: float = 0.5,
        prior: Activation | None = None,
        gain: float = 0.8,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.activation, self.phi = activation, Nonlinearity(activation, hidden, dtype)
        self.sign = sign
        self.averaging = fitted("averaging", averaging, Averaging)
        if prior is not None:
            require_true_bounds(prior)
            prior.require_prox()
        self.prior = None if prior is None else Nonlinearity(prior, width, dtype)
        draw = normal(rngs, (depth, hidden, width), width**-0.5, dtype)
        self.W = nnx.Param(self.guarantee().rescale({"W": draw}, gain)["W"])

    def __call__(
        self, z: Float[Array, "batch width"], x: Float[Array, "batch injected"]
    ) -> Float[Array, "batch width"]:
        """All layers, x = (u_1 ... u_L) side by side, and the prior."""
        layers = self.W[...]
        for W, u in zip(layers, jnp.split(x, len(layers), axis=1), strict=True):
            step = self.sign * self.phi(z @ W.T + u) @ W
            z = (1 - self.averaging) * z + self.averaging * step
        return z if self.prior is None else self.prior(z)

    def start(self, x: Float[Array, "batch injected"]) -> Float[Array, "batch width"]:
        """Zero."""
        return jnp.zeros((x.shape[0], self.W.shape[-1]), x.dtype)

    def output(
        self, z: Float[Array, "batch width"], x: Float[Array, "batch injected"]
    ) -> Float[Array, "batch width"]:
        """Z itself."""
        del x
        return z

    def guarantee(self, *place: str) -> Convex:
        """Every layer contracts.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return Convex(self.activation, self.sign, (*place, "W"), self.averaging)
