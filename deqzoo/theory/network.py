"""A wide DEQ of finite width as plain float64 arrays: equilibria, Gram and tangent kernel."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core.fixed_point import fixed_point
from deqzoo.core.solution import Stats
from deqzoo.theory.error import TheoryError

SOLVER = "picard(rtol=1e-14, max_steps=5000)"


@dataclass(frozen=True)
class Network:
    """z = φ(Wz + Ux), ŷ = a z.

    Attributes:
        activation: φ.
        W: (m, m).
        U: (m, d).
        a: (k, m).
    """

    activation: Activation
    W: Float[np.ndarray, "m m"]
    U: Float[np.ndarray, "m d"]
    a: Float[np.ndarray, "k m"]

    def __post_init__(self):
        for name in ("W", "U", "a"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        m = len(self.W)
        if self.W.shape != (m, m) or self.U.shape[:1] != (m,) or self.a.shape[1:] != (m,):
            raise TheoryError(
                "expected W (m, m), U (m, d) and a (k, m), got "
                f"{self.W.shape}, {self.U.shape}, {self.a.shape}"
            )

    @classmethod
    def draw(
        cls,
        activation: Activation,
        width: int,
        inputs: int,
        outputs: int = 1,
        *,
        s_w: float,
        s_u: float = math.sqrt(2),
        s_a: float = 1.0,
        seed: int | np.random.Generator = 0,
    ) -> Network:
        """W_ij ~ N(0, s_w²/m), U_ij ~ N(0, s_u²/d), a_ij ~ N(0, s_a²/m), drawn in this order."""
        rng = np.random.default_rng(seed)
        W = rng.standard_normal((width, width)) * (s_w / math.sqrt(width))
        U = rng.standard_normal((width, inputs)) * (s_u / math.sqrt(inputs))
        a = rng.standard_normal((outputs, width)) * (s_a / math.sqrt(width))
        return cls(activation, W, U, a)

    @property
    def width(self) -> int:
        """Units m."""
        return len(self.W)

    def equilibrium(self, x) -> tuple[Float[np.ndarray, "n m"], Stats]:
        """Z with one row per input, and the statistics of the solve."""
        with jax.enable_x64(True):
            Z, stats = equilibrium(self.activation, self.W, self.U, _rows(x))
            return np.asarray(Z), jax.tree.map(np.asarray, stats)

    def outputs(self, x) -> Float[np.ndarray, "n k"]:
        """ŷ = Z aᵀ."""
        return self.equilibrium(x)[0] @ self.a.T

    def gram(self, x) -> Float[np.ndarray, "n n"]:
        """G = Z Zᵀ, unnormalised as in the papers: compare G/m with the population matrix."""
        Z, _ = self.equilibrium(x)
        return Z @ Z.T

    def tangent_kernel(self, x, other=None) -> Float[np.ndarray, "nk mk"]:
        """H = J Jᵀ, J the Jacobian of all outputs in W, U and a, without forming J.

        H_(ip)(jq) = δ_pq G_ij + (b_ip · b_jq)(G_ij + x_i·x_j), b_ip = D_i λ_ip, λ = a_p + Wᵀ D_i λ:
        one adjoint solve per input and output. Row i k + p belongs to output p of input i, as in
        ``outputs(x).ravel()``.

        References:
            Ling et al., arXiv 2205.13814, section 2.3; the elementwise form is derived for deqzoo.
        """
        same = other is None
        rows = _rows(x)
        columns = rows if same else _rows(other)
        Z, b = self._tangents(rows)
        Z_other, b_other = (Z, b) if same else self._tangents(columns)
        k = len(self.a)
        gram = Z @ Z_other.T
        spread = np.kron(gram + rows @ columns.T, np.ones((k, k)))
        return np.kron(gram, np.eye(k)) + (b @ b_other.T) * spread

    def _tangents(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            Z, b = _tangents(self.activation, self.W, self.U, self.a, rows)
            return np.asarray(Z), np.asarray(b).reshape(-1, self.width)


def _rows(x) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x.reshape(len(x), -1)


@functools.partial(jax.jit, static_argnums=0)
def equilibrium(
    activation: Activation, W: Array, U: Array, x: Array
) -> tuple[Float[Array, "n m"], Stats]:
    """Z = φ(Z Wᵀ + x Uᵀ) by Picard iteration to the rounding floor."""
    b = x @ U.T
    solution = fixed_point(
        lambda z, args: activation(z @ args[0].T + args[1]),
        jnp.zeros_like(b),
        (W, b),
        solver=SOLVER,
    )
    return solution.value, solution.stats


def preactivation_slope(activation: Activation, W, U, Z, x) -> Float[Array, "n m"]:
    """D = φ'(Z Wᵀ + x Uᵀ)."""
    P = Z @ W.T + x @ U.T
    return jax.jvp(activation, (P,), (jnp.ones_like(P),))[1]


def adjoint(W, D, source: Any) -> Float[Array, "n m"]:
    """Λ = source + (D ∘ Λ) W, the adjoint equilibrium, by the same iteration."""
    solution = fixed_point(
        lambda lam, args: args[2] + (args[1] * lam) @ args[0],
        source,
        (W, D, source),
        solver=SOLVER,
    )
    return solution.value


@functools.partial(jax.jit, static_argnums=0)
def _tangents(activation: Activation, W, U, a, x):
    Z, _ = equilibrium(activation, W, U, x)
    D = preactivation_slope(activation, W, U, Z, x)
    b = jax.vmap(lambda row: D * adjoint(W, D, jnp.broadcast_to(row, D.shape)), out_axes=1)(a)
    return Z, b


@functools.partial(jax.jit, static_argnums=0)
def descend(activation: Activation, W, U, a, x, y, learning_rate):
    """One step of gradient descent on ½‖ŷ - y‖²: (W, U, a), the loss and Z before it.

    The gradient is the closed form Γ = D ∘ Λ with Λ the adjoint equilibrium of (ŷ - y) a:
    ∇_W = Γᵀ Z, ∇_U = Γᵀ x, ∇_a = (ŷ - y)ᵀ Z.
    """
    Z, _ = equilibrium(activation, W, U, x)
    error = Z @ a.T - y
    D = preactivation_slope(activation, W, U, Z, x)
    gamma = D * adjoint(W, D, error @ a)
    moved = (
        W - learning_rate * gamma.T @ Z,
        U - learning_rate * gamma.T @ x,
        a - learning_rate * error.T @ Z,
    )
    return moved, jnp.sum(jnp.square(error)) / 2, Z
