"""The cell of an equilibrium that minimises a convex function: weights W and Wᵀ."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.convex import Convex
from deqzoo.nn.sector_cell import SectorCell


class SymmetricCell(SectorCell):
    """z = s Wᵀφ(y), y = Wz + u, as a monotone equation v = ψ(y), ψ the sector of φ.

    z is where ∇Φ = 0 for Φ(z) = |z|²/2 - s 1ᵀP(Wz + u), P' = φ. With (a, b) the slopes of φ, so
    that φ(y) = ay + (b - a)v, and V = s(b - a)(I - saWWᵀ)⁻¹WWᵀ,

        y = V(v + au/(b - a)) + u,

    where V is symmetric and its eigenvalues lie below 1 as long as sup(sφ')‖W‖₂² < 1. With s = -1
    and a φ that does not fall they are not positive, whatever W.

    Args:
        width: of z.
        hidden: of y, u and the state v.
        activation: φ, not affine, with its slope bounds, which hold while a learnable one is
            learned.
        sign: s, 1 or -1.
        gain: of sup(sφ')‖W‖₂² at initialisation, at most.
        rngs: the stream ``params`` draws W, entries of variance 1/width.
        dtype: of W.

    Raises:
        ValueError: φ is affine, or s neither 1 nor -1.

    References:
        Xie et al., "Optimization Induced Equilibrium Networks", arXiv 2105.13228, has s = 1;
        as a monotone equation: deqzoo.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, SymmetricCell
        >>> cell = SymmetricCell(8, 6, activations.get("gelu"), rngs=nnx.Rngs(0))
        >>> u = jnp.ones((4, 6))
        >>> z = cell.output(DEQ(cell)(u).value, u)
        >>> float(jnp.max(jnp.abs(cell.gradient(z, u)))) < 1e-4
        True
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: Activation,
        *,
        sign: int = 1,
        gain: float = 0.8,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(activation, hidden, dtype)
        self.sign = sign
        draw = normal(rngs, (hidden, width), width**-0.5, dtype)
        self.W = nnx.Param(self.guarantee().rescale({"W": draw}, gain)["W"])

    def weight(self) -> Float[Array, "hidden hidden"]:
        """V."""
        W, (low, high) = self.W[...], self.slopes
        product = jnp.matmul(W, W.T, precision="highest")
        if low == 0:
            return self.sign * high * product
        left = jnp.eye(W.shape[0], dtype=W.dtype) - self.sign * low * product
        return self.sign * (high - low) * jnp.linalg.solve(left, product)

    def affine(
        self,
        v: Float[Array, "batch hidden"],
        x: Float[Array, "batch hidden"],
        weight: Float[Array, "hidden hidden"],
    ) -> Float[Array, "batch hidden"]:
        """Y, with u = x."""
        low, high = self.slopes
        return (v + low / (high - low) * x) @ weight.T + x

    def start(self, x: Float[Array, "batch hidden"]) -> Float[Array, "batch hidden"]:
        """Zero."""
        return jnp.zeros_like(x)

    def output(
        self, v: Float[Array, "batch hidden"], x: Float[Array, "batch hidden"]
    ) -> Float[Array, "batch width"]:
        """Z = s Wᵀφ(y)."""
        return self.sign * self.phi(self.affine(v, x, self.weight())) @ self.W[...]

    def objective(
        self, z: Float[Array, "batch width"], x: Float[Array, "batch hidden"]
    ) -> Float[Array, " batch"]:
        """Φ(z) of every example.

        Raises:
            ValueError: every unit has learned parameters of its own.
        """
        potential = self.phi.frozen().primitive(z @ self.W[...].T + x)
        return jnp.sum(z * z, axis=1) / 2 - self.sign * jnp.sum(potential, axis=1)

    def gradient(
        self, z: Float[Array, "batch width"], x: Float[Array, "batch hidden"]
    ) -> Float[Array, "batch width"]:
        """∇Φ(z) = z - s Wᵀφ(Wz + u): a certificate of z, for |z - z*| <= |∇Φ(z)|/(1 - bound)."""
        return z - self.sign * self.phi(z @ self.W[...].T + x) @ self.W[...]

    def guarantee(self, *place: str) -> Convex:
        """Φ is strongly convex.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return Convex(self.activation, self.sign, (*place, "W"), slopes=self.slopes)
