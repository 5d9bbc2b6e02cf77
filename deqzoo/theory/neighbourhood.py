"""How far the outputs of the networks near a start can be from its own, to first order and beyond.

The statements and their proofs are in docs/theory.md, "A certificate of generalisation".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from deqzoo.activation.contract import Activation
from deqzoo.theory.network import Network, adjoint, equilibrium

_EPS = float(np.finfo(float).eps)

Column = Float[np.ndarray, " n"]


class Ball(NamedTuple):
    """‖W - W_0‖_F <= w, ‖U - U_0‖_F <= u, ‖a - a_0‖ <= a and L‖W‖₂ <= gain < 1."""

    w: float
    u: float
    a: float
    gain: float


class Complexity(NamedTuple):
    """Three parts of a bound on the empirical Rademacher complexity of the outputs of a ball.

    Attributes:
        linear: of (a - a_0)·z_0.
        tangent: of the first order in W and U; 0 where ``remainder`` holds all of it.
        remainder: the largest rest, on average over the examples.
    """

    linear: float
    tangent: float
    remainder: float

    @property
    def total(self) -> float:
        """Their sum."""
        return sum(self)


@dataclass(frozen=True)
class Expansion:
    """ŷ = a_0·z_0 + (a - a_0)·z_0 + b·((W - W_0)z_0 + (U - U_0)x) + rest, at every example.

    z_0 and λ are what the solver found, whatever its error: φ(W_0 z_0 + U_0 x) - z_0 and
    a_0 - λ + W_0ᵀ D λ are left over, and the bounds of the rest contain them.

    Attributes:
        activation: φ.
        inputs: ‖x_i‖.
        states: ‖z_0‖.
        tangents: ‖b‖, b = Dλ.
        adjoints: ‖λ‖.
        largest: max |λ_j|.
        state_defect: ‖φ(W_0 z_0 + U_0 x) - z_0‖.
        adjoint_defect: ‖a_0 - λ + W_0ᵀ D λ‖.
        rounding: of W_0 z_0 + U_0 x, at most.
        readout: ‖a_0‖.
    """

    activation: Activation
    inputs: Column
    states: Column
    tangents: Column
    adjoints: Column
    largest: Column
    state_defect: Column
    adjoint_defect: Column
    rounding: Column
    readout: float

    @classmethod
    def of(cls, start: Network, x: Float[np.ndarray, "n d"]) -> Expansion:
        """That of a network of one output."""
        with jax.enable_x64(True):
            found = _solve(start.activation, start.W, start.U, start.a[0], jnp.asarray(x))
            Z, b, lam, *defects = (np.asarray(value) for value in found)
        norms = functools.partial(np.linalg.norm, axis=1)
        W, U, readout = (float(np.linalg.norm(each)) for each in (start.W, start.U, start.a))
        terms = (start.width + x.shape[1] + 2) * _EPS
        state_defect, adjoint_defect = map(norms, defects)
        return cls(
            activation=start.activation,
            inputs=norms(x),
            states=norms(Z),
            tangents=norms(b),
            adjoints=norms(lam),
            largest=np.max(np.abs(lam), axis=1),
            state_defect=state_defect + 8 * _EPS * norms(Z),
            adjoint_defect=adjoint_defect + terms * (readout + W * norms(b) + norms(lam)),
            rounding=terms * (W * norms(Z) + U * norms(x)),
            readout=readout,
        )

    def movement(self, ball: Ball) -> Column:
        """ρ: ‖z - z_0‖ is at most (L (w‖z_0‖ + u‖x‖) + defects)/(1 - gain)."""
        pushed = self._pushed(ball)
        return (self.activation.lipschitz * pushed + self.state_defect) / (1 - ball.gain)

    def shift(self, ball: Ball) -> Column:
        """‖(Wz + Ux) - (W_0 z_0 + U_0 x)‖ is at most (gain/L) ρ + w‖z_0‖ + u‖x‖."""
        return ball.gain / self.activation.lipschitz * self.movement(ball) + self._pushed(ball)

    def rest(self, ball: Ball) -> Column:
        """What is beyond the first order is at most a ρ + ‖b‖ w ρ + ½ sup|φ''| max|λ_j| shift².

        And what the defects add. Infinite where φ' jumps, unless a_0 = 0.
        """
        moved, bent = self.movement(ball), np.square(self.shift(ball))
        weighted, curved = self.largest * bent, np.zeros_like(bent)
        half = self.activation.curvature / 2
        np.multiply(half, weighted, out=curved, where=weighted > 0)  # of an infinite one no NaN
        defects = self.adjoints * self.state_defect + self.adjoint_defect * moved
        return (
            (ball.a + self.tangents * ball.w) * moved
            + curved
            + (defects + self.tangents * self.rounding)
        )

    def complexity(self, ball: Ball) -> Complexity:
        """With the first order in W and U apart, or without it, whichever is less."""
        root = lambda values: float(np.sqrt(np.sum(np.square(values)))) / len(self.states)  # noqa: E731
        linear = ball.a * root(self.states)
        tangent = ball.w * root(self.tangents * self.states)
        tangent += ball.u * root(self.tangents * self.inputs)
        apart = Complexity(linear, tangent, float(np.mean(self.rest(ball))))
        whole = (self.readout + ball.a) * float(np.mean(self.movement(ball)))
        return min(apart, Complexity(linear, 0.0, whole), key=lambda each: each.total)

    def _pushed(self, ball: Ball) -> Column:
        return ball.w * self.states + ball.u * self.inputs + self.rounding


@functools.partial(jax.jit, static_argnums=0)
def _solve(activation: Activation, W, U, a, x):
    Z, _ = equilibrium(activation, W, U, x)
    P = Z @ W.T + x @ U.T
    image, D = jax.jvp(activation, (P,), (jnp.ones_like(P),))
    source = jnp.broadcast_to(a, D.shape)
    lam = adjoint(W, D, source)
    b = D * lam
    return Z, b, lam, image - Z, source + b @ W - lam
