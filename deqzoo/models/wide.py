"""The papers' wide DEQ z = φ(Wz + Ux), ŷ = aᵀz."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec, one_array
from deqzoo.nn.deq import DEQ
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Ends, Model
from deqzoo.nn.wide_cell import WideCell
from deqzoo.theory.network import Network

__all__ = ["Wide"]


class Wide(Model):
    """z = φ(Wz + Ux), ŷ = a z, without biases.

    W_ij ~ N(0, s_w²/m), U_ij ~ N(0, s_u²/d), a_ij ~ N(0, s_a²/m): in this standard
    parameterisation it is the network of the convergence theorems. Train it with full-batch
    gradient descent on the square loss (``--optimizer=gd --loss=square --batch_size=full``).

    Args:
        spec: of one example, an array or its shape; it is flattened to d numbers.
        outputs: rows of a.
        activation: φ, an activation or its recipe.
        width: m.
        s_w: scale of W; by default 0.4/L, so that L‖W‖₂ is near 0.8 for every activation.
        s_u: scale of U; the papers take √2.
        s_a: scale of a; the papers take 1. Zero or a small value is what the convergence theorems
            really need.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights in the order W, U, a.
        dtype: of all parameters.

    References:
        Ling et al., "Global Convergence of Over-parameterized Deep Equilibrium Models", arXiv
        2205.13814. Truong, "Global Convergence Rate of Deep Equilibrium Models with General
        Activations", arXiv 2302.05797.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.wide import Wide
        >>> model = Wide((8,), 1, activation="tanh", width=64, rngs=nnx.Rngs(0))
        >>> outputs, solution = model(jnp.ones((5, 8)))
        >>> outputs.shape, float(solution.stats.fraction_converged)
        ((5, 1), 1.0)
    """

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "relu",
        width: int = 512,
        s_w: float | None = None,
        s_u: float = math.sqrt(2),
        s_a: float = 1.0,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        inputs = math.prod(one_array(spec).shape)
        cell = WideCell(width, self.activation, s_w=s_w, rngs=rngs, dtype=dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.U = nnx.Param(
            jax.random.normal(rngs.params(), (width, inputs), dtype) * (s_u / inputs**0.5)
        )
        self.a = nnx.Param(
            jax.random.normal(rngs.params(), (outputs, width), dtype) * (s_a / width**0.5)
        )

    @classmethod
    def from_ling(cls, sigma_w2: float, *args, **kwargs) -> Wide:
        """The scales of Ling et al., Assumption 1: s_w² = 2 σ_w², s_u² = 2, s_a² = 1.

        Args:
            sigma_w2: σ_w², below 1/(8 L²); the paper takes 0.08.
            *args: passed to the constructor.
            **kwargs: passed to the constructor.
        """
        if not sigma_w2 >= 0:
            raise ValueError(f"sigma_w2 must be >= 0, got {sigma_w2}")
        return cls(*args, s_w=math.sqrt(2 * sigma_w2), s_u=math.sqrt(2), **{"s_a": 1.0, **kwargs})

    def stem(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch width"]:
        """Ux."""
        return x.reshape(x.shape[0], -1) @ self.U[...].T

    def head(
        self, z: Float[Array, "batch width"], injected: Float[Array, "batch width"]
    ) -> Float[Array, "batch outputs"]:
        """ŷ = a z."""
        return z @ self.a[...].T

    def network(self) -> Network:
        """W, U and a as the theorems see them, with φ as it is."""
        W, U, a = (parameter[...] for parameter in (self.deq.cell.W, self.U, self.a))
        return Network(self.deq.cell.phi.frozen(), np.asarray(W), np.asarray(U), np.asarray(a))

    def load_network(self, network: Network) -> None:
        """Take W, U and a."""
        for parameter, value in (
            (self.deq.cell.W, network.W),
            (self.U, network.U),
            (self.a, network.a),
        ):
            parameter[...] = jnp.asarray(value, parameter[...].dtype)

    def guarantees(self) -> tuple[Guarantee, ...]:
        """L‖W‖₂ < 1."""
        return (self.deq.cell.guarantee("deq", "cell"),)

    def ends(self) -> Ends:
        """U and a."""
        return Ends(self.U[...], self.a[...])
