"""The cell z -> φ(Wz + b) of the wide DEQ, well posed at initialisation for every activation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core import spectral
from deqzoo.nn.guarantees.contraction import Contraction
from deqzoo.nn.nonlinearity import Nonlinearity

_LIMIT = 0.95


class WideCell(nnx.Module):
    """z -> φ(Wz + b), W_ij ~ N(0, s_w²/m), a contraction with factor L‖W‖₂.

    ‖W‖₂ concentrates at 2 s_w. A draw above 0.95/L, which by default happens only at very small
    widths, is scaled down to it, so that the equilibrium is unique at initialisation whatever the
    activation.

    Args:
        width: m.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        s_w: weight scale; by default 0.4/L, which gives L‖W‖₂ near 0.8.
        rngs: the stream ``params`` draws W.
        dtype: of W.

    Raises:
        ValueError: 2 s_w L >= 1: the equilibrium need not exist.

    References:
        Ling et al., arXiv 2205.13814, Lemma 1; Truong, arXiv 2302.05797.
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        s_w: float | None = None,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        s_w = activation.default_s_w if s_w is None else s_w
        _require_well_posed(s_w, activation)
        draw = jax.random.normal(rngs.params(), (width, width), dtype) * (s_w / width**0.5)
        self.W = nnx.Param(
            spectral.shrink_to(draw, _LIMIT / activation.lipschitz),
            out_sharding=("model", None),
            eager_sharding=False,  # whoever has a mesh places it
        )
        self.activation = activation
        self.phi = Nonlinearity(activation, width, dtype)

    def __call__(
        self, z: Float[Array, "batch width"], b: Float[Array, "batch width"]
    ) -> Float[Array, "batch width"]:
        """φ(Wz + b) for every example."""
        return self.phi(z @ self.W[...].T + b)

    def start(self, b: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        """Zero, as in the papers."""
        return jnp.zeros_like(b)

    def guarantee(self, *place: str) -> Contraction:
        """L‖W‖₂ < 1 keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return Contraction(self.activation, (*place, "W"))


def _require_well_posed(s_w: float, activation: Activation) -> None:
    gain = 2 * s_w * activation.lipschitz
    if not 0 <= gain < 1:
        raise ValueError(
            f"s_w = {s_w:.6g} with L = {activation.lipschitz:.6g} gives 2 s_w L = {gain:.4g}, "
            "but the equilibrium is guaranteed only in [0, 1): "
            f"use s_w below {1 / (2 * activation.lipschitz):.6g} "
            f"(Ling's sigma_w2 below {activation.max_sigma_w2:.6g})"
        )
