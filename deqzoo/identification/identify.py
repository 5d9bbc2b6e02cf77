"""A whole DEQ from states that were observed, by a convex problem."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core import spectral
from deqzoo.core.fixed_point import fixed_point
from deqzoo.identification.descent import descend
from deqzoo.identification.features import Features
from deqzoo.settings import In, fitted

_SHARE = 0.95  # of 1/L, where no κ is given


@dataclass(frozen=True)
class Identified:
    """z = φ(Az + Bx + b) with L‖A‖₂ < 1.

    Attributes:
        activation: φ.
        A: (h, h).
        B: (h, d).
        b: (h,).
        steps: of the descent.
        gradient: norm of its gradient map at the end, relative to the start.
        converged: whether it reached ``rtol``.
    """

    activation: Activation
    A: Float[np.ndarray, "h h"]
    B: Float[np.ndarray, "h d"]
    b: Float[np.ndarray, " h"]
    steps: int
    gradient: float
    converged: bool

    def __call__(self, X) -> Float[np.ndarray, "n h"]:
        """The equilibria at inputs (n, d), in float64."""
        with jax.enable_x64(True):
            u = np.asarray(X, np.float64) @ self.B.T + self.b
            return np.asarray(_equilibria(self.activation, self.A, u))

    def distance(self, Z, X) -> Float[np.ndarray, " n"]:
        """A bound of ‖z - z*(x)‖₂ for states (n, h): ‖z - φ(Az + Bx + b)‖₂/(1 - L‖A‖₂).

        It holds for any state and any φ, whatever the fit, up to the rounding of the residual.
        """
        Z, X = np.asarray(Z, np.float64), np.asarray(X, np.float64)
        there = self.activation.in_float64(Z @ self.A.T + X @ self.B.T + self.b)
        gain = self.activation.lipschitz * spectral.proved_norm(self.A)
        return np.linalg.norm(Z - there, axis=1) / (1 - gain)


def identify(
    Z,
    X,
    activation: Activation | str,
    kappa: float | None = None,
    *,
    rtol: float = 1e-8,
    max_steps: int = 10_000,
) -> Identified:
    """Min mean_i Σ_j Φ(p_ij) - z_ij p_ij, p_i = A z_i + B x_i + b, Φ' = φ, over ‖A‖₂ <= κ.

    Convex for monotone φ, every row of (A, B, b) a regression of its own but for the bound of A;
    no equilibrium is solved or differentiated. Where z_i = φ(A°z_i + B°x_i + b°), ‖A°‖₂ <= κ, the
    minimum has that fit; A itself need not be A°. The bound matters: without it A = I, B = 0
    fits states of the rectifier perfectly and says nothing.

    Of a φ that falls somewhere, as gelu, states below the values that it takes once count as
    "below": max(φ, low) and max(z, low) stand for φ and z (``branch``), which is convex again and
    leaves a clean fit a minimum. What those states say beyond is not used.

    Args:
        Z: observed states (n, h), in the range of φ but for noise.
        X: inputs (n, d).
        activation: φ or its recipe.
        kappa: κ in (0, 1/L), which makes the equilibrium unique; None for 0.95/L.
        rtol: the norm of the gradient map at which the descent stops, relative to its start.
        max_steps: of the descent.

    Raises:
        ValueError: arrays of other shapes or with NaN, κ out of range, a φ that is learned or takes
            no value once.

    References:
        The matching loss: Diakonikolas et al., "Approximation Schemes for ReLU Regression", arXiv
        2005.12844. Whole DEQs, the treatment of falling φ and the descent: deqzoo.

    Example:
        >>> import deqzoo, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.standard_normal((200, 2)), np.array([[0.3, -0.4], [0.2, 0.5]])
        >>> Z = np.zeros((200, 2))
        >>> for _ in range(100):
        ...     Z = np.tanh(Z @ A.T + X)
        >>> found = deqzoo.identify(Z, X, "tanh", kappa=0.9)
        >>> bool(np.max(np.abs(found(X) - Z)) < 1e-6)
        True
    """
    act = catalog.activations.get(activation)
    Z, X = _observed(Z, X)
    bound = 1 / act.lipschitz if act.lipschitz else np.inf
    within: Any = Annotated[float, In(f"(0, {bound!r})")]
    limit: float = fitted("kappa", _SHARE * bound if kappa is None else kappa, within)
    rtol = fitted("rtol", rtol, Annotated[float, In("(0, 1)")])
    max_steps = fitted("max_steps", max_steps, Annotated[int, In("[1, inf)")])
    features = Features.of(Z, X)
    limits = {"columns": features.units, "limit": limit * features.scale}
    found = descend(act, features.F, Z, **limits, rtol=rtol, max_steps=max_steps)
    A, B, b = features.weights(np.asarray(found.weights))
    share = float(found.gradient)
    return Identified(act, A, B, b, int(found.steps), share, share <= rtol)


def _observed(Z, X) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays of as many rows."""
    Z, X = np.asarray(Z, np.float64), np.asarray(X, np.float64)
    if Z.ndim != 2 or X.ndim != 2 or len(Z) != len(X) or not Z.size:
        raise ValueError(
            f"expected states (n, h) and inputs (n, d), n > 0, got {Z.shape} and {X.shape}: "
            "flatten what an example is"
        )
    if not (np.all(np.isfinite(Z)) and np.all(np.isfinite(X))):
        raise ValueError("expected finite states and inputs, got NaN or infinity: leave those out")
    return Z, X


@functools.partial(jax.jit, static_argnums=0)
def _equilibria(activation: Activation, A: Array, u: Array) -> Float[Array, "n h"]:
    fn = lambda z, args: activation(z @ args[0].T + args[1])  # noqa: E731
    return fixed_point(fn, jnp.zeros_like(u), (A, u), solver="anderson(rtol=1e-12)").value
